// A mapped file of named tensors, whatever its format: nothing of their data is read or copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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
  DType dtype;  // of blocks: nothing
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // not necessarily aligned to the element
  BlockFormat format = BlockFormat::none;

  // "bf16", "Q4_K"
  std::string_view type_name() const {
    return format == BlockFormat::none ? dtype_name(dtype) : block_format_name(format);
  }
};

class TensorFile {
 public:
  using Tensors = std::map<std::string, StoredTensor, std::less<>>;

  const Tensors& tensors() const { return tensors_; }
  const StoredTensor* find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }
  // Tensors of types that the format has and qwill has not, by name: the type as written. They are checked like the
  // others, and do not matter unless the model needs them.
  const std::map<std::string, std::string, std::less<>>& unsupported() const { return unsupported_; }
  const MappedFile& file() const { return file_; }
  // The same file with these tensors of it, by other names.
  TensorFile renamed(Tensors tensors) && {
    tensors_ = std::move(tensors);
    return std::move(*this);
  }

 protected:
  MappedFile file_;
  Tensors tensors_;
  std::map<std::string, std::string, std::less<>> unsupported_;
};

}  // namespace qwill
