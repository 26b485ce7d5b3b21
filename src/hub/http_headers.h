// The headers of an HTTP answer, and what some of them say. All of it comes from strangers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwill {

class HttpHeaders {
 public:
  // A line as it arrived. A status line ("HTTP/1.1 200 OK") begins anew: what came before was of an interim answer.
  // False once there are more than any honest server sends.
  bool add_line(std::string_view line);
  // The value, without the white space around it; empty if the header is not there. Names have no case.
  std::string_view find(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
  size_t bytes_ = 0;
};

// "bytes 0-99/1000"; total is unknown for "*".
struct ContentRange {
  int64_t first = 0, last = 0;
  std::optional<int64_t> total;

  static std::optional<ContentRange> parse(std::string_view text);
};

// Digits, at most a petabyte.
std::optional<int64_t> parse_http_size(std::string_view text);

// An ETag without "W/" and quotation marks, if it is a hash that content can be compared with: SHA-256 of the file (64
// hexadecimal digits), or SHA-1 of git's blob (40).
std::optional<std::string> parse_etag_hash(std::string_view text);

}  // namespace qwill
