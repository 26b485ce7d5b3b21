#include "weights/model_folder.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "weights/builtin_model.h"

namespace qwill {
namespace fs = std::filesystem;
namespace {

// Beyond any published tokenizer.json or index; keeps a hostile file from filling the memory.
constexpr size_t kMaxJsonBytes = size_t{128} << 20;

bool is_hub_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

// "name" or "owner/name", as the hub allows them. ".." is no hub name, so none can leave the cache's folder.
bool is_hub_name(std::string_view name) {
  if (name.empty() || name.size() > 200 || std::count(name.begin(), name.end(), '/') > 1) return false;
  if (name.front() == '/' || name.back() == '/' || name.front() == '.') return false;
  if (name.find("..") != std::string_view::npos || name.find("/.") != std::string_view::npos) return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return c == '/' || is_hub_character(c); });
}

// The snapshot of a hub name in the cache, as huggingface_hub lays it out:
// models--OWNER--NAME/refs/main holds the revision, snapshots/REVISION/ the files. Empty if there is none.
std::string find_snapshot(const std::string& name, const std::string& hub_cache) {
  std::string folder = "models--";
  for (const char c : name) folder += c == '/' ? std::string("--") : std::string(1, c);
  const fs::path repository = fs::path(hub_cache) / folder;
  const fs::path reference = repository / "refs" / "main";
  std::error_code error;
  if (!fs::is_regular_file(reference, error)) return {};
  std::string revision(MappedFile::open(reference.string()).text());
  while (!revision.empty() && (revision.back() == '\n' || revision.back() == '\r')) revision.pop_back();
  if (revision.empty() || revision.size() > 100 || !std::all_of(revision.begin(), revision.end(), is_hub_character) ||
      revision.front() == '.')
    fail_invalid("{}: expected a revision, found {}", reference.string(), printable(revision));
  const fs::path snapshot = repository / "snapshots" / revision;
  if (!fs::is_directory(snapshot, error))
    fail_invalid("{}: no such folder, though {} names it", snapshot.string(), reference.string());
  return snapshot.string();
}

}  // namespace

ModelFolder ModelFolder::find(const std::string& model, const std::string& hub_cache) {
  ModelFolder folder;
  if (model.empty()) {
    if (builtin_files().empty())
      fail_invalid("no model named, and this build has no built-in model: name a folder or a hub model");
    folder.name_ = "the built-in model";
    return folder;
  }
  folder.name_ = folder.path_ = model;
  std::error_code error;
  if (fs::is_directory(model, error)) return folder;
  if (fs::exists(model, error))
    fail_invalid("{}: not a folder; expected one with config.json and *.safetensors", printable(model, 4000));
  if (error) fail(ErrorKind::io, "{}: {}", printable(model, 4000), error.message());
  if (!is_hub_name(model)) fail_invalid("{}: no such folder", printable(model, 4000));
  if (hub_cache.empty()) fail_invalid("{}: no such folder, and no hub cache to look for that name in", model);
  folder.path_ = find_snapshot(model, hub_cache);
  if (folder.path_.empty())
    fail_invalid("{}: no such folder, and not in the hub cache {}: get it with \"qwill pull {}\"", model, hub_cache,
                 model);
  folder.name_ = folder.path_;
  return folder;
}

std::string ModelFolder::name_of(std::string_view file) const {
  return path_.empty() ? fmt::format("{}: {}", name_, file) : (fs::path(path_) / file).string();
}

std::optional<MappedFile> ModelFolder::open_if_present(std::string_view file) const {
  if (path_.empty()) {
    for (const EmbeddedFile& builtin : builtin_files())
      if (builtin.name == file) return MappedFile::view(builtin.bytes, name_of(file));
    return std::nullopt;
  }
  const std::string path = name_of(file);
  std::error_code error;
  if (!fs::exists(path, error)) {
    if (error) fail(ErrorKind::io, "{}: {}", path, error.message());
    if (fs::is_symlink(path, error))
      fail(ErrorKind::io, "{}: a link to a file that is not there (an unfinished download?)", path);
    return std::nullopt;
  }
  return MappedFile::open(path);
}

MappedFile ModelFolder::open(std::string_view file) const {
  std::optional<MappedFile> opened = open_if_present(file);
  if (!opened) fail_invalid("{}: no {}: not a model folder, or an unfinished download", name_, printable(file));
  return std::move(*opened);
}

Json ModelFolder::open_json(std::string_view file) const {
  const MappedFile opened = open(file);
  return with_context(opened.name(), [&] {
    if (opened.bytes().size() > kMaxJsonBytes)
      fail_invalid("{} bytes are too many for such a file (at most {})", opened.bytes().size(), kMaxJsonBytes);
    return Json::parse(opened.text());
  });
}

}  // namespace qwill
