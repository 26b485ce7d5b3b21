// Reads a file line by line, however large it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/regular_file.h"

namespace qwill {

class LineReader {
 public:
  // From the start of the file, which must outlive the reader.
  explicit LineReader(const RegularFile& file) : file_(&file) {}

  // Moves to the next line; false at the end. Throws Error(io).
  bool next();
  // Without its newline; valid until the next call of next.
  std::string_view line() const { return std::string_view(buffer_).substr(begin_, size_); }
  int64_t number() const { return number_; }  // of the line, from 1
  int64_t offset() const { return offset_; }  // in the file, bytes
  bool ended() const { return ended_; }       // by a newline; only the last line may be without

 private:
  bool read_more();

  const RegularFile* file_;
  std::string buffer_;
  size_t begin_ = 0, size_ = 0;  // the line in the buffer
  int64_t number_ = 0, offset_ = 0, read_bytes_ = 0;
  bool ended_ = true;
};

}  // namespace qwill
