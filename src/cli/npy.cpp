#include "cli/npy.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace qwill::cli {

NpyWriter::NpyWriter(const std::string& path, int64_t rows, int64_t cols) : path_(path) {
  file_ = std::fopen(path.c_str(), "wb");
  if (!file_) fail(ErrorKind::io, "{}: {}", path, std::strerror(errno));
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  constexpr size_t kPreamble = 10, kAlignment = 64;
  header.resize((kPreamble + header.size() + 1 + kAlignment - 1) / kAlignment * kAlignment - kPreamble - 1, ' ');
  header += '\n';
  constexpr std::string_view kMagic("\x93NUMPY\x01\x00", 8);
  const unsigned char length[2] = {static_cast<unsigned char>(header.size() & 0xff),
                                   static_cast<unsigned char>(header.size() >> 8)};
  std::fwrite(kMagic.data(), 1, kMagic.size(), file_);
  std::fwrite(length, 1, sizeof length, file_);
  std::fwrite(header.data(), 1, header.size(), file_);
}

NpyWriter::~NpyWriter() {
  if (file_) std::fclose(file_);
}

void NpyWriter::write(std::span<const float> values) {
  if (std::fwrite(values.data(), sizeof(float), values.size(), file_) != values.size())
    fail(ErrorKind::io, "{}: {}", path_, std::strerror(errno));
}

void NpyWriter::close() {
  std::FILE* file = std::exchange(file_, nullptr);
  const bool failed = std::ferror(file) != 0;
  if (std::fclose(file) != 0 || failed) fail(ErrorKind::io, "{}: {}", path_, std::strerror(errno));
}

}  // namespace qwill::cli
