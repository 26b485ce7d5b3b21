// A view of a dense row-major tensor in the memory of one device; owns nothing.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace qwill {

struct Tensor {
  void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::f32;

  int64_t size_bytes() const { return rows * cols * dtype_bytes(dtype); }
  template <typename T>
  T* row(int64_t r) const {
    return static_cast<T*>(data) + r * cols;
  }
};

}  // namespace qwill
