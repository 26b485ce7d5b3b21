// The hub's HTTP API: which files a revision of a model has, and of each how large it is, its hash and where it lies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/hub_http.h"
#include "hub/hub_name.h"

namespace qwill {

struct HubFile {
  std::string path;
  std::optional<int64_t> size;
  std::string hash;  // as an ETag has it (parse_etag_hash); empty: not known
  std::string url;   // where its bytes are asked for
};

struct HubListing {
  std::string commit;
  std::vector<HubFile> files;  // those of the top folder

  const HubFile* find(std::string_view path) const;
  // The answer of /api/models/NAME/revision/REVISION. Throws Error(invalid).
  static HubListing parse(std::string_view json);
};

class HubApi {
 public:
  // endpoint: without a slash at its end.
  HubApi(std::string endpoint, const std::string& token, const std::atomic<bool>* cancel);

  // Throws Error(invalid) where the hub refuses, Error(io) where it cannot be reached; both say what to do.
  HubListing list(const HubName& name);
  // Size, hash and address of files, as the servers tell them now; what they do not tell stays as it is in the listing.
  std::vector<HubFile> look_up(const HubName& name, const std::string& commit, std::vector<HubFile> files);
  // A file's address on the hub itself, from which it may redirect.
  std::string url_of(const HubName& name, const std::string& commit, std::string_view path) const;
  // Throws what a refusal means for whoever asked for the model.
  [[noreturn]] void fail_answer(const HubName& name, std::string_view what, const HttpAnswer& answer) const;

  HttpClient& http() { return http_; }

 private:
  // Each request's answer, after retries. The first that fails for good is thrown.
  std::vector<HttpAnswer> ask(const HubName& name, const std::vector<HttpRequest>& requests,
                              const std::vector<std::string>& subjects, std::string* body);

  std::string endpoint_;
  HttpClient http_;
};

}  // namespace qwill
