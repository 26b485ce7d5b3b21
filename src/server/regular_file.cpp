#include "server/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace qwill {
namespace {

struct stat status_of(int descriptor) {
  struct stat status{};
  (void)::fstat(descriptor, &status);
  return status;
}

}  // namespace

RegularFile::RegularFile(std::string path, int flags) : path_(std::move(path)) {
  // A pipe that nobody writes to would keep open waiting.
  descriptor_ = ::open(path_.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0666);
  if (descriptor_ < 0) fail(ErrorKind::io, "{}: {}", path_, std::strerror(errno));
  if (S_ISREG(status_of(descriptor_).st_mode)) return;
  ::close(descriptor_);
  fail_invalid("{}: not a regular file", path_);
}

RegularFile::~RegularFile() { ::close(descriptor_); }

bool RegularFile::is_same_as(const RegularFile& other) const {
  const struct stat a = status_of(descriptor_), b = status_of(other.descriptor_);
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace qwill
