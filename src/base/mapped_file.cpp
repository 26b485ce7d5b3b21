#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace qwill {

MappedFile MappedFile::open(const std::string& path) {
  MappedFile file;
  file.name_ = path;
  file.descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not keep us waiting
  if (file.descriptor_ < 0) fail(ErrorKind::io, "{}: {}", path, std::strerror(errno));
  struct stat status{};
  if (::fstat(file.descriptor_, &status) != 0) fail(ErrorKind::io, "{}: {}", path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::io, "{}: not a regular file", path);
  const size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) return file;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.descriptor_, 0);
  if (address == MAP_FAILED) fail(ErrorKind::io, "{}: cannot map {} bytes: {}", path, size, std::strerror(errno));
  file.bytes_ = {static_cast<const std::byte*>(address), size};
  file.mapped_ = true;
  return file;
}

MappedFile MappedFile::view(std::span<const std::byte> bytes, std::string name) {
  MappedFile file;
  file.bytes_ = bytes;
  file.name_ = std::move(name);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(name_, other.name_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

MappedFile::~MappedFile() {
  if (mapped_) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace qwill
