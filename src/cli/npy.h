// NumPy's file format, version 1.0, for a float32 matrix that is written row by row.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

namespace qwill::cli {

class NpyWriter {
 public:
  // Throws Error(io).
  NpyWriter(const std::string& path, int64_t rows, int64_t cols);
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  void write(std::span<const float> values);
  // Flushes; throws Error(io) if anything could not be written.
  void close();

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
};

}  // namespace qwill::cli
