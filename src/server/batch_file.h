// OpenAI's batch files: one JSON request a line in, one JSON result a line out, and what lets a batch that was stopped
// at any moment go on.
//
// A result's "id" is "batch_req_" and 32 hex digits: the hash of the custom_id (of the line's number where there is
// none), and the hash of the request's line. So a file of results tells which requests it answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/line_reader.h"
#include "server/openai_request.h"
#include "server/regular_file.h"

namespace qwill {

struct BatchRequest {
  // What makes a line no request of a batch: the result's "error".
  struct Flaw {
    std::string_view code;
    std::string message;
  };

  uint64_t custom_id_hash = 0, line_hash = 0;
  std::optional<std::string> custom_id;
  std::optional<Flaw> flaw;  // then nothing below
  Endpoint endpoint = Endpoint::completions;
  Json body;

  std::string id() const;  // 32 hex digits
};
BatchRequest parse_batch_request(std::string_view line, int64_t line_number);

class BatchInput {
 public:
  // Reads the whole file once: counts the requests, and throws Error(invalid) if two of them have one custom_id. Throws
  // Error(io). Holds 24 bytes a request until start(), then a bit.
  explicit BatchInput(const std::string& path);

  const RegularFile& file() const { return file_; }
  int64_t num_requests() const { return num_requests_; }

  // A request that is not to be given out, by its two hashes. False if there is none, or it was named before.
  bool mark_done(uint64_t custom_id_hash, uint64_t line_hash);
  // No mark_done from here on.
  void start();
  // The next request, in the order of the file; nothing at the end. Throws Error(io).
  std::optional<BatchRequest> next();

 private:
  struct Entry {
    uint64_t custom_id_hash, line_hash;
    int64_t line;
  };

  RegularFile file_;
  std::vector<Entry> entries_;  // sorted by custom_id_hash
  std::vector<bool> done_;      // by the number of the line; blank ones are
  int64_t num_requests_ = 0;
  LineReader lines_;
};

class BatchOutput {
 public:
  // Opens or makes the file, locks it, and marks in `input` what it answers. A last line that was torn is cut off.
  // Throws Error(io), also if another process has the lock; Error(invalid) if it holds anything but results of `input`.
  BatchOutput(const std::string& path, BatchInput& input);

  int64_t num_found() const { return num_found_; }    // results that were there
  int64_t num_failed() const { return num_failed_; }  // results, found or appended, whose status is not 200

  // Write one result each. Now and then what was written is brought to the disk. Throw Error(io).
  void append(const BatchRequest& request, int status, Json body);
  void append_flaw(const BatchRequest& request);
  // Brings what was written to the disk. Throws Error(io).
  void sync();

 private:
  void lock();
  void take_in(BatchInput& input);
  void append(const BatchRequest& request, Json response, Json error);

  RegularFile file_;
  int64_t num_found_ = 0, num_failed_ = 0;
  std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
};

}  // namespace qwill
