// The safetensors format: an 8-byte little-endian header length, a JSON header, raw little-endian tensors.
// https://huggingface.co/docs/safetensors (format). Everything in the header is checked before use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/block_format.h"
#include "tensor/dtype.h"

namespace qwill {

// One stored tensor: a view into the mapped file, valid as long as the file's owner lives.
struct StoredTensor {
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // not necessarily aligned to the element
  BlockFormat format = BlockFormat::none;
};

class SafetensorsFile {
 public:
  // Reads the header alone: the cost does not depend on the size of the data.
  // Throws Error(invalid) "NAME: what": short or oversized header, bad JSON, unknown dtype, offsets that overlap, leave
  // holes, leave the file, or do not match shape and dtype, trailing bytes.
  static SafetensorsFile parse(MappedFile file);

  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }
  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }
  // Tensors of dtypes that the format has and qwill has not, by name: the dtype as written. They are checked like the
  // others, and do not matter unless the model needs them.
  const std::map<std::string, std::string, std::less<>>& unsupported() const { return unsupported_; }
  const MappedFile& file() const { return file_; }

 private:
  MappedFile file_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> unsupported_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

// The format's name of a dtype: "BF16".
std::string_view safetensors_dtype_name(DType dtype);

// Writes a safetensors file, tensors in the given order, the data area 8-byte aligned. Throws Error(io).
struct TensorToStore {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};
void write_safetensors(const std::string& path, std::span<const TensorToStore> tensors,
                       const std::map<std::string, std::string, std::less<>>& metadata = {});

}  // namespace qwill
