// Writing safetensors files: what is in them is known first, their data come piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace qwill {

struct TensorHeader {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;

  int64_t bytes() const;
};

class SafetensorsWriter {
 public:
  using Metadata = std::map<std::string, std::string, std::less<>>;

  // Makes the file, or empties it, and writes the header; the data area begins at a multiple of `alignment`. Throws
  // Error(io), as write and finish do.
  SafetensorsWriter(std::string path, std::span<const TensorHeader> tensors, const Metadata& metadata,
                    int64_t alignment);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The next bytes of the tensors' data, in the order of the header.
  void write(std::span<const std::byte> bytes);
  // All has been written.
  void finish();

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t missing_ = 0;  // bytes
};

// A whole file at once, tensors in the given order, the data area 8-byte aligned. Throws Error(io).
struct TensorToStore {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};
void write_safetensors(const std::string& path, std::span<const TensorToStore> tensors,
                       const SafetensorsWriter::Metadata& metadata = {});

}  // namespace qwill
