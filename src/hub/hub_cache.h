// The hub's local cache, laid out as huggingface_hub does, so that each finds what the other has fetched:
//     models--OWNER--NAME/refs/REVISION             the commit that a branch or a tag stood for
//     models--OWNER--NAME/blobs/ETAG                each file once
//     models--OWNER--NAME/snapshots/COMMIT/FILE     -> ../../blobs/ETAG
//     .locks/models--OWNER--NAME/
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "hub/hub_name.h"

namespace qwill {

// The part of the cache that is one model's. Paths only: nothing is made before it is asked for.
class HubRepository {
 public:
  HubRepository(const std::string& hub_cache, HubName name);

  const HubName& name() const { return name_; }
  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path blob(const std::string& etag) const { return folder_ / "blobs" / etag; }
  std::filesystem::path snapshot(const std::string& commit) const { return folder_ / "snapshots" / commit; }
  std::filesystem::path reference() const { return folder_ / "refs" / name_.revision; }
  // Held by a pull while it writes.
  std::filesystem::path lock_file() const { return lock_file_; }

  // The folder of the revision's snapshot; empty if there is none. Throws Error(invalid) for a reference that is
  // damaged or names a folder that is not there.
  std::string find_snapshot() const;
  // Whether a snapshot has a configuration and all weights that it speaks of.
  static bool is_whole(const std::filesystem::path& snapshot);

  // FILE of a snapshot becomes a link to a blob. Throws Error(io).
  void link(const std::string& commit, const std::string& file, const std::string& etag) const;
  // Notes what the revision stands for, if it is not itself the commit. Throws Error(io).
  void write_reference(const std::string& commit) const;

 private:
  HubName name_;
  std::filesystem::path folder_, lock_file_;
};

// A file's content, if it is there and at most so long; throws Error(io).
std::optional<std::string> read_small_file(const std::filesystem::path& path, size_t max_bytes);

// Makes a folder and those above it. Throws Error(io) that says what to do.
void make_cache_folder(const std::filesystem::path& path);

// The largest model.safetensors.index.json that is read.
constexpr size_t kMaxIndexBytes = size_t{128} << 20;

}  // namespace qwill
