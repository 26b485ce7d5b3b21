// A whole file as read-only bytes: mapped from disk, or a view of bytes that live in the program itself.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace qwill {

class MappedFile {
 public:
  MappedFile() = default;
  // Throws Error(io) "PATH: why". An empty file gives an empty span.
  static MappedFile open(const std::string& path);
  // bytes must outlive the MappedFile and whatever it is moved to; name is used in messages.
  static MappedFile view(std::span<const std::byte> bytes, std::string name);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  const std::string& name() const { return name_; }
  // The descriptor behind a mapping, for read-ahead; -1 for a view.
  int descriptor() const { return descriptor_; }

 private:
  std::span<const std::byte> bytes_;
  std::string name_;
  int descriptor_ = -1;
  bool mapped_ = false;
};

}  // namespace qwill
