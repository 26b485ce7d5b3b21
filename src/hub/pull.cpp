#include "hub/pull.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "hub/fetch.h"
#include "hub/hub_api.h"
#include "hub/hub_cache.h"

namespace qwill {
namespace fs = std::filesystem;
namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
// Wanted where they exist, besides the weights.
constexpr const char* kSmallFiles[] = {kConfig,
                                       "generation_config.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "chat_template.jinja",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt"};

// Held while a model's part of the cache is written to.
class RepositoryLock {
 public:
  // Waits for whoever holds it; calls `waiting` meanwhile. Throws HttpCancelled, Error(io).
  RepositoryLock(const fs::path& path, const std::atomic<bool>* cancel, const std::function<void()>& waiting) {
    make_cache_folder(path.parent_path());
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail(ErrorKind::io, "{}: {}", path.string(), std::strerror(errno));
    // Where files cannot be locked, hashes alone protect from another pull.
    while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || errno == EINTR)) {
      if (cancel && *cancel) {
        ::close(descriptor_);
        throw HttpCancelled{};
      }
      waiting();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  ~RepositoryLock() { ::close(descriptor_); }
  RepositoryLock(const RepositoryLock&) = delete;
  RepositoryLock& operator=(const RepositoryLock&) = delete;

 private:
  int descriptor_;
};

class Pull {
 public:
  Pull(const PullOptions& options, const HubName& name)
      : options_(options),
        repository_(options.hub_cache, name),
        api_(options.endpoint, options.token, options.cancel) {}

  std::string run();

 private:
  std::vector<std::string> small_files() const;
  std::vector<std::string> weight_files() const;
  bool has(const std::string& path) const;
  void fetch(const std::vector<std::string>& paths);
  void report(int64_t done_bytes, int64_t total_bytes, std::string_view note) const;

  const PullOptions& options_;
  HubRepository repository_;
  HubApi api_;
  HubListing listing_;
  fs::path snapshot_;
  int64_t fetched_bytes_ = 0;
};

// Whether a file is in the snapshot already.
bool Pull::has(const std::string& path) const {
  std::error_code error;
  if (!fs::is_regular_file(snapshot_ / path, error)) return false;
  const HubFile* file = listing_.find(path);
  const auto size = static_cast<int64_t>(fs::file_size(snapshot_ / path, error));
  return !error && file && file->size.value_or(size) == size;
}

std::vector<std::string> Pull::small_files() const {
  std::vector<std::string> paths;
  for (const char* path : kSmallFiles)
    if (listing_.find(path)) paths.emplace_back(path);
  const std::string& name = repository_.name().name;
  if (!listing_.find(kConfig)) fail_invalid("{}: has no {}: not a model that qwill reads", name, kConfig);
  // As when they are read: a single file goes before an index.
  if (!listing_.find(kSingleFile)) {
    if (!listing_.find(kIndexFile))
      fail_invalid("{}: has neither {} nor {}: no weights that qwill reads", name, kSingleFile, kIndexFile);
    paths.emplace_back(kIndexFile);
  }
  return paths;
}

// Known once the small files are there.
std::vector<std::string> Pull::weight_files() const {
  if (listing_.find(kSingleFile)) return {kSingleFile};
  return with_context(fmt::format("{}: {}", repository_.name().name, kIndexFile), [&] {
    const auto text = read_small_file(snapshot_ / kIndexFile, kMaxIndexBytes);
    if (!text) fail_invalid("larger than {} bytes", kMaxIndexBytes);
    const Json index = Json::parse(*text);
    const Json* map = index.find("weight_map");
    if (!map) fail_invalid("weight_map: missing");
    std::set<std::string> paths;
    for (const auto& [tensor, file] : map->as_object()) paths.insert(file.as_string());
    for (const std::string& path : paths) {
      if (!is_plain_file_name(path)) fail_invalid("{} is not a plain file name", printable(path));
      if (!listing_.find(path)) fail_invalid("names {}, which the hub does not have", printable(path));
    }
    return std::vector<std::string>(paths.begin(), paths.end());
  });
}

void Pull::report(int64_t done_bytes, int64_t total_bytes, std::string_view note) const {
  if (options_.progress) options_.progress({done_bytes, total_bytes, note});
}

void Pull::fetch(const std::vector<std::string>& paths) {
  std::vector<HubFile> wanted;
  for (const std::string& path : paths)
    if (!has(path)) wanted.push_back(*listing_.find(path));
  if (wanted.empty()) return;
  wanted = api_.look_up(repository_.name(), listing_.commit, std::move(wanted));

  // A blob may be there under the name of another snapshot; two files of the same content are one blob.
  std::vector<HubFile> absent;
  std::set<std::string> hashes;
  std::error_code error;
  for (const HubFile& file : wanted) {
    const fs::path blob = repository_.blob(file.hash);
    const bool is_there =
        fs::is_regular_file(blob, error) && static_cast<int64_t>(fs::file_size(blob, error)) == *file.size && !error;
    if (!is_there && hashes.insert(file.hash).second) absent.push_back(file);
  }
  Fetch fetch(api_, repository_, listing_.commit);
  fetch.begin(absent);
  do report(fetched_bytes_ + fetch.done_bytes(), fetched_bytes_ + fetch.total_bytes(), fetch.note());
  while (fetch.advance());
  fetched_bytes_ += fetch.total_bytes();
  for (const HubFile& file : wanted) repository_.link(listing_.commit, file.path, file.hash);
}

std::string Pull::run() {
  listing_ = api_.list(repository_.name());
  snapshot_ = repository_.snapshot(listing_.commit);
  const std::vector<std::string> small = small_files();
  // A cache that has all of it is not written to, so it may be one that cannot be.
  const auto has_all = [&](const std::vector<std::string>& paths) {
    return std::all_of(paths.begin(), paths.end(), [&](const std::string& path) { return has(path); });
  };
  if (!has_all(small) || !has_all(weight_files())) {
    const RepositoryLock lock(repository_.lock_file(), options_.cancel,
                              [&] { report(0, 0, "another pull of it is under way, waiting"); });
    fetch(small);
    fetch(weight_files());
    repository_.write_reference(listing_.commit);
  } else {
    repository_.write_reference(listing_.commit);
  }
  return snapshot_.string();
}

}  // namespace

std::optional<std::string> pull_model(const PullOptions& options, const HubName& name) {
  if (options.hub_cache.empty()) fail_invalid("no folder for the hub's cache is known: set HF_HOME or HF_HUB_CACHE");
  try {
    return Pull(options, name).run();
  } catch (const HttpCancelled&) {
    return std::nullopt;
  }
}

}  // namespace qwill
