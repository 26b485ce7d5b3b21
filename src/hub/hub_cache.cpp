#include "hub/hub_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"

namespace qwill {
namespace fs = std::filesystem;

HubRepository::HubRepository(const std::string& hub_cache, HubName name) : name_(std::move(name)) {
  std::string folder = "models--";
  for (const char c : name_.name) folder += c == '/' ? std::string("--") : std::string(1, c);
  folder_ = fs::path(hub_cache) / folder;
  lock_file_ = fs::path(hub_cache) / ".locks" / folder / "qwill.lock";
}

std::string HubRepository::find_snapshot() const {
  const fs::path noted = reference();
  std::error_code error;
  if (!fs::is_regular_file(noted, error)) {
    // A commit is a snapshot's name itself.
    const bool is_commit = is_hub_snapshot(name_.revision) && fs::is_directory(snapshot(name_.revision), error);
    return is_commit ? snapshot(name_.revision).string() : "";
  }
  std::string commit(MappedFile::open(noted.string()).text());
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
  if (!is_hub_snapshot(commit)) fail_invalid("{}: expected a revision, found {}", noted.string(), printable(commit));
  const fs::path found = snapshot(commit);
  if (!fs::is_directory(found, error))
    fail_invalid("{}: no such folder, though {} names it", found.string(), noted.string());
  return found.string();
}

bool HubRepository::is_whole(const fs::path& snapshot) {
  std::error_code error;
  if (!fs::is_regular_file(snapshot / "config.json", error)) return false;
  if (fs::is_regular_file(snapshot / "model.safetensors", error)) return true;
  const auto text = read_small_file(snapshot / "model.safetensors.index.json", kMaxIndexBytes);
  if (!text) return false;
  try {
    const Json index = Json::parse(*text);
    const Json* map = index.find("weight_map");
    if (!map) return false;
    std::string last;  // most tensors lie where the one before does
    for (const auto& [tensor, file] : map->as_object()) {
      if (std::exchange(last, file.as_string()) == last) continue;
      if (!is_plain_file_name(last) || !fs::is_regular_file(snapshot / last, error)) return false;
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

namespace {

// Another process may look at any moment, so files appear under their names whole: made beside them, then renamed.
fs::path temporary_beside(const fs::path& path) {
  fs::path beside = path;
  beside += fmt::format(".{}.incomplete", ::getpid());
  return beside;
}

void rename_into_place(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return;
  const int error = errno;
  ::unlink(from.c_str());
  fail(ErrorKind::io, "{}: {}", to.string(), std::strerror(error));
}

}  // namespace

void HubRepository::link(const std::string& commit, const std::string& file, const std::string& etag) const {
  make_cache_folder(snapshot(commit));
  const fs::path path = snapshot(commit) / file, made = temporary_beside(path);
  const fs::path target = fs::path("../../blobs") / etag;
  ::unlink(made.c_str());
  if (::symlink(target.c_str(), made.c_str()) != 0)
    fail(ErrorKind::io, "{}: cannot make a link: {}", path.string(), std::strerror(errno));
  rename_into_place(made, path);
}

void HubRepository::write_reference(const std::string& commit) const {
  if (name_.revision == commit) return;
  const fs::path path = reference();
  if (read_small_file(path, 200) == commit) return;
  make_cache_folder(path.parent_path());
  const fs::path made = temporary_beside(path);
  const int descriptor = ::open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) fail(ErrorKind::io, "{}: {}", path.string(), std::strerror(errno));
  const ssize_t written = ::write(descriptor, commit.data(), commit.size());
  const int error = errno;
  ::close(descriptor);
  if (written != static_cast<ssize_t>(commit.size())) {
    ::unlink(made.c_str());
    fail(ErrorKind::io, "{}: {}", path.string(), written < 0 ? std::strerror(error) : "not written whole");
  }
  rename_into_place(made, path);
}

std::optional<std::string> read_small_file(const fs::path& path, size_t max_bytes) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  const MappedFile file = MappedFile::open(path.string());
  if (file.text().size() > max_bytes) return std::nullopt;
  return std::string(file.text());
}

void make_cache_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    fail(ErrorKind::io, "{}: cannot make this folder of the hub cache: {} (HF_HUB_CACHE names another place)",
         path.string(), error.message());
}

}  // namespace qwill
