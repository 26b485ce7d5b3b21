// Matrices in the blocks of GGUF files, and what they stand for.
#pragma once

#include <cstddef>
#include <vector>

#include "ops/ops.h"
#include "support/random.h"
#include "tensor/block_format.h"

namespace qwill::test {

struct Blocks {
  BlockFormat format;
  int64_t rows, cols;
  std::vector<std::byte> bytes;
  std::vector<float> values;  // decoded

  WeightSource source() const { return {bytes.data(), DType::u8, rows, cols, format}; }
  WeightSource decoded() const { return {values.data(), DType::f32, rows, cols}; }
};

// Random bytes with scales of moderate size.
Blocks random_blocks(Random& random, BlockFormat format, int64_t rows, int64_t cols);

}  // namespace qwill::test
