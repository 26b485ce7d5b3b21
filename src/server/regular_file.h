// A file on disk: not a pipe or a terminal, which cannot be read twice.
#pragma once

#include <string>

namespace qwill {

class RegularFile {
 public:
  // flags: as of open(2). Throws Error(io) "PATH: why", Error(invalid) for what is no regular file.
  RegularFile(std::string path, int flags);
  ~RegularFile();
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  bool is_same_as(const RegularFile& other) const;

 private:
  std::string path_;
  int descriptor_;
};

}  // namespace qwill
