#include "llm/new_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"

namespace qwill {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail_write(const std::string& path) {
  fail(ErrorKind::io, "{}: cannot write: {}", printable(path, 4000), std::strerror(errno));
}

void sync(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_write(path);
  const bool synced = ::fsync(descriptor) == 0 || errno == EINVAL;  // EINVAL: not where this file lies
  const int why = errno;
  // Whoever maps it gets large pages only of what was read anew (weights/warm_up); what was written lies in small ones.
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  ::close(descriptor);
  errno = why;
  if (!synced) fail_write(path);
}

}  // namespace

NewFolder::NewFolder(const std::string& path) : path_(path) {
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  std::error_code error;
  if (fs::exists(fs::symlink_status(path_, error)))
    fail_invalid("{}: is there already: remove it, or name another folder", printable(path_, 4000));
  std::string made = path_ + ".XXXXXX";
  if (!::mkdtemp(made.data()))
    fail(ErrorKind::io, "{}: cannot make a folder: {}", printable(path_, 4000), std::strerror(errno));
  made_ = made;
  const mode_t mask = ::umask(0);  // mkdtemp's are for their owner alone
  ::umask(mask);
  ::chmod(made_.c_str(), 0777 & ~mask);
}

NewFolder::~NewFolder() {
  std::error_code error;
  if (!made_.empty()) fs::remove_all(made_, error);
}

std::string NewFolder::file(std::string_view name) const { return fmt::format("{}/{}", made_, name); }

void NewFolder::write(std::string_view name, std::string_view bytes) const {
  const std::string path = file(name);
  std::FILE* out = std::fopen(path.c_str(), "wb");
  if (!out) fail_write(path);
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), out) == bytes.size();
  const int why = errno;
  const bool closed = std::fclose(out) == 0;
  if (!written) errno = why;
  if (!written || !closed) fail_write(path);
}

void NewFolder::put_in_place() {
  for (const auto& entry : fs::directory_iterator(made_)) sync(entry.path().string());
  sync(made_);
  if (::rename(made_.c_str(), path_.c_str()) != 0) fail_write(path_);
  made_.clear();
  const fs::path parent = fs::path(path_).parent_path();
  sync(parent.empty() ? "." : parent.string());
}

}  // namespace qwill
