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
  const std::optional<HubName> name = HubName::parse(model);
  if (!name) fail_invalid("{}: no such folder", printable(model, 4000));
  if (hub_cache.empty()) fail_invalid("{}: no such folder, and no hub cache to look for that name in", model);
  folder.path_ = HubRepository(hub_cache, *name).find_snapshot();
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
