// Weights in the blocks of GGUF files where they are widened while they are placed: the bits of products are those of
// the numbers that they stand for.
#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/random_blocks.h"
#include "ops/rows.h"
#include "support/backends.h"

namespace qwill {
namespace {

using test::Blocks;
using test::Random;
using test::Rows;

constexpr BlockFormat kFormats[] = {BlockFormat::q4_0, BlockFormat::q4_1, BlockFormat::q5_0,   BlockFormat::q5_1,
                                    BlockFormat::q8_0, BlockFormat::q2_k, BlockFormat::q3_k,   BlockFormat::q4_k,
                                    BlockFormat::q5_k, BlockFormat::q6_k, BlockFormat::iq4_nl, BlockFormat::iq4_xs};

class WidenedBlocks : public test::BackendTest {
 protected:
  std::vector<Compute> computes() const {
    std::vector<Compute> all = {Compute::f32, Compute::bf16};
    if (!GetParam().starts_with("cuda")) return all;  // fewer bits may be made of the blocks' own there
    all.push_back(Compute::int4);
    if (test::has_fp8(GetParam())) all.push_back(Compute::fp8);
    return all;
  }
};

std::vector<float> products(Ops& ops, const Weight& weight, Rows x) {
  Rows y(x.num, weight->rows);
  Tensor sum = ops.to_device(y.tensor());
  ops.linear_add(sum, ops.to_device(x.tensor()), weight);
  const std::span<const float> got = ops.to_host(sum);
  return {got.begin(), got.end()};
}

TEST_P(WidenedBlocks, MultiplyAsTheNumbersTheyStandFor) {
  const auto ops = test::make_backend(GetParam());
  Random random(1);
  for (const BlockFormat format : kFormats)
    for (const auto& [rows, blocks_of_row] : {std::pair<int64_t, int64_t>{1, 1}, {37, 3}, {160, 8}}) {
      const int64_t cols = blocks_of_row * block_shape(format).cols;
      const Blocks blocks = test::random_blocks(random, format, rows, cols);
      const Blocks other = test::random_blocks(random, format, 5, cols);
      const WeightSource stored[] = {blocks.source(), other.source()}, plain[] = {blocks.decoded(), other.decoded()};
      for (const Compute compute : computes()) {
        const Weight widened = ops->place(stored, WeightUse::matrix, compute);
        const Weight wanted = ops->place(plain, WeightUse::matrix, compute);
        for (const int64_t m : {1, 3, 40}) {
          const Rows x = Rows::random(random, m, cols);
          EXPECT_EQ(products(*ops, widened, x), products(*ops, wanted, x))
              << block_format_name(format) << " [" << rows << ", " << cols << "], " << m << " rows, compute "
              << static_cast<int>(compute);
        }
      }
    }
}

TEST_P(WidenedBlocks, PanelsAreRefusedByName) {
  if (test::is_cpu(GetParam())) GTEST_SKIP() << "takes them";
  const auto ops = test::make_backend(GetParam());
  const std::vector<std::byte> bytes(1 << 16);
  const WeightSource source{bytes.data(), DType::u8, 32, 64, BlockFormat::panels_int4};
  try {
    ops->place({&source, 1}, WeightUse::matrix, Compute::bf16);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("panels of int4"), std::string::npos) << e.what();
  }
}

std::vector<std::string> those_that_take_blocks() {
  std::vector<std::string> names = test::backends();
  std::erase(names, "reference");
  return names;
}
INSTANTIATE_TEST_SUITE_P(Ops, WidenedBlocks, testing::ValuesIn(those_that_take_blocks()), test::backend_test_name);

}  // namespace
}  // namespace qwill
