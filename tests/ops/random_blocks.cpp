#include "ops/random_blocks.h"

#include <cstring>

#include "tensor/dtype.h"

namespace qwill::test {
namespace {

// Where in a block its scales in f16 lie.
std::vector<int64_t> scale_places(BlockFormat format) {
  switch (format) {
    case BlockFormat::q4_1:
    case BlockFormat::q5_1:
    case BlockFormat::q4_k:
    case BlockFormat::q5_k: return {0, 2};
    case BlockFormat::q2_k: return {80, 82};
    case BlockFormat::q3_k: return {108};
    case BlockFormat::q6_k: return {208};
    default: return {0};
  }
}

}  // namespace

Blocks random_blocks(Random& random, BlockFormat format, int64_t rows, int64_t cols) {
  const BlockShape shape = block_shape(format);
  const int64_t num_blocks = rows * cols / shape.cols;
  Blocks blocks{format, rows, cols, std::vector<std::byte>(static_cast<size_t>(num_blocks * shape.bytes)),
                std::vector<float>(static_cast<size_t>(rows * cols))};
  for (std::byte& byte : blocks.bytes) byte = static_cast<std::byte>(random.next());
  for (int64_t b = 0; b < num_blocks; ++b)
    for (const int64_t place : scale_places(format)) {
      const f16 scale = to_f16(random.uniform(0.001f, 0.01f) * (random.below(2) == 0 ? 1.0f : -1.0f));
      std::memcpy(&blocks.bytes[static_cast<size_t>(b * shape.bytes + place)], &scale, 2);
    }
  for (int64_t r = 0; r < rows; ++r)
    decode_blocks(format, blocks.bytes.data() + r * cols / shape.cols * shape.bytes, cols,
                  &blocks.values[static_cast<size_t>(r * cols)]);
  return blocks;
}

}  // namespace qwill::test
