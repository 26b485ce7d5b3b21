// The safetensors format: an 8-byte little-endian header length, a JSON header, raw little-endian tensors.
// https://huggingface.co/docs/safetensors (format). Everything in the header is checked before use.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "weights/tensor_file.h"

namespace qwill {

class SafetensorsFile : public TensorFile {
 public:
  // Reads the header alone: the cost does not depend on the size of the data.
  // Throws Error(invalid) "NAME: what": short or oversized header, bad JSON, unknown dtype, offsets that overlap, leave
  // holes, leave the file, or do not match shape and dtype, trailing bytes.
  static SafetensorsFile parse(MappedFile file);

  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }

 private:
  std::map<std::string, std::string, std::less<>> metadata_;
};

// The format's name of a dtype: "BF16".
std::string_view safetensors_dtype_name(DType dtype);

}  // namespace qwill
