#include "weights/model_folder.h"

#include <filesystem>

#include "base/error.h"
#include "hub/hub_cache.h"
#include "weights/builtin_model.h"

namespace qwill {
namespace fs = std::filesystem;
namespace {

// Beyond any published tokenizer.json or index; keeps a hostile file from filling the memory.
constexpr size_t kMaxJsonBytes = size_t{128} << 20;

constexpr std::string_view kGguf = ".gguf";

// The name without what tells shards apart: "NAME-00002-of-00003.gguf" and "NAME.gguf" are of the model "NAME".
std::string_view model_of(std::string_view file) {
  file.remove_suffix(kGguf.size());
  constexpr std::string_view kShard = "-00000-of-00000";
  if (file.size() <= kShard.size()) return file;
  const std::string_view end = file.substr(file.size() - kShard.size());
  for (size_t i = 0; i < kShard.size(); ++i)
    if (kShard[i] == '0' ? end[i] < '0' || end[i] > '9' : end[i] != kShard[i]) return file;
  return file.substr(0, file.size() - kShard.size());
}

// A file of the one GGUF model in a folder without safetensors; empty if there is none. Throws Error(invalid) for
// several.
std::string find_gguf(const fs::path& folder) {
  std::error_code error;
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
    if (fs::exists(fs::symlink_status(folder / name, error))) return "";
  std::string found;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(kGguf)) continue;
    if (!found.empty() && model_of(found) != model_of(name))
      fail_invalid("{}: several GGUF models: name a file, {} for one", printable(folder.string(), 4000),
                   printable(std::min(found, name)));
    if (found.empty() || name < found) found = name;
  }
  return found.empty() ? "" : (folder / found).string();
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
  if (fs::is_directory(model, error)) {
    folder.take_gguf();
    return folder;
  }
  if (model.ends_with(kGguf)) {
    folder.gguf_ = model;
    if (!fs::exists(model, error)) fail_invalid("{}: no such file", printable(model, 4000));
    return folder;
  }
  if (fs::exists(model, error))
    fail_invalid("{}: not a folder; expected one with config.json and *.safetensors, or a file *.gguf",
                 printable(model, 4000));
  if (error) fail(ErrorKind::io, "{}: {}", printable(model, 4000), error.message());
  const std::optional<HubName> name = HubName::parse(model);
  if (!name) fail_invalid("{}: no such folder", printable(model, 4000));
  if (hub_cache.empty()) fail_invalid("{}: no such folder, and no hub cache to look for that name in", model);
  folder.path_ = HubRepository(hub_cache, *name).find_snapshot();
  if (folder.path_.empty())
    fail_invalid("{}: no such folder, and not in the hub cache {}: get it with \"qwill pull {}\"", model, hub_cache,
                 model);
  folder.name_ = folder.path_;
  folder.take_gguf();
  return folder;
}

void ModelFolder::take_gguf() {
  gguf_ = find_gguf(path_);
  if (!gguf_.empty()) name_ = gguf_;
}

std::string ModelFolder::name_of(std::string_view file) const {
  return path_.empty() ? fmt::format("{}: {}", name_, file) : (fs::path(path_) / file).string();
}

std::optional<MappedFile> ModelFolder::open_if_present(std::string_view file) const {
  if (!gguf_.empty()) return std::nullopt;
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
