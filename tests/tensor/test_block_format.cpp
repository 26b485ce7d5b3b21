// Blocks against what the reference makes of them (tools/make_block_goldens.py), bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "support/test_paths.h"
#include "tensor/block_format.h"
#include "weights/safetensors.h"

namespace qwill {
namespace {

constexpr BlockFormat kFormats[] = {BlockFormat::q4_0, BlockFormat::q4_1, BlockFormat::q5_0,   BlockFormat::q5_1,
                                    BlockFormat::q8_0, BlockFormat::q2_k, BlockFormat::q3_k,   BlockFormat::q4_k,
                                    BlockFormat::q5_k, BlockFormat::q6_k, BlockFormat::iq4_nl, BlockFormat::iq4_xs};

class BlockFormatTest : public testing::TestWithParam<BlockFormat> {};

TEST_P(BlockFormatTest, DecodesAsTheReferenceDoes) {
  const SafetensorsFile goldens =
      SafetensorsFile::parse(MappedFile::open(test::source_path("tests/data/gguf/blocks.safetensors")));
  const BlockFormat format = GetParam();
  const std::string name(block_format_name(format));
  const StoredTensor *blocks = goldens.find(name + ".blocks"), *values = goldens.find(name + ".values");
  ASSERT_TRUE(blocks && values) << name;
  const BlockShape shape = block_shape(format);
  const int64_t count = blocks->shape[0], cols = count * shape.cols;
  ASSERT_EQ(blocks->shape[1], shape.bytes);
  ASSERT_EQ(values->shape, (std::vector<int64_t>{count, shape.cols}));
  ASSERT_GE(count, 8);

  // One row of all blocks, at an odd address; nothing behind its values is touched.
  std::vector<std::byte> bytes(blocks->bytes.size() + 1);
  std::memcpy(bytes.data() + 1, blocks->bytes.data(), blocks->bytes.size());
  std::vector<float> got(static_cast<size_t>(cols) + 1, -7.0f), wanted(static_cast<size_t>(cols));
  std::memcpy(wanted.data(), values->bytes.data(), values->bytes.size());
  decode_blocks(format, bytes.data() + 1, cols, got.data());
  for (size_t i = 0; i < wanted.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(wanted[i]))
        << name << ", value " << i << ": " << got[i] << " instead of " << wanted[i];
  EXPECT_EQ(got.back(), -7.0f);
}

INSTANTIATE_TEST_SUITE_P(All, BlockFormatTest, testing::ValuesIn(kFormats),
                         [](const auto& info) { return std::string(block_format_name(info.param)); });

}  // namespace
}  // namespace qwill
