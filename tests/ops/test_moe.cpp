// moe_add of every backend within the bounds of float32: numbers of experts that are multiples of nothing, experts
// without tokens, probabilities as they are or normed to 1.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <tuple>

#include "ops/bounds.h"
#include "ops/reference.h"
#include "ops/rows.h"
#include "support/backends.h"

namespace qwill {
namespace {

using test::Bounded;
using test::BoundedRow;
using test::kHalfUlp;
using test::Random;
using test::Rows;
using test::StoredWeight;

struct Shape {
  int64_t num_experts, per_token, C, F;
};
constexpr Shape kShapes[] = {{1, 1, 8, 4},   {3, 1, 31, 7},  {5, 2, 72, 20},
                             {7, 7, 32, 16}, {8, 3, 64, 96}, {129, 8, 32, 32}};
constexpr float kEps = 1e-6f;

struct Layer {
  Shape shape;
  std::vector<float> scale;
  StoredWeight router, gate_up, down;

  Layer(uint64_t seed, const Shape& s, DType dtype, Compute compute) : shape(s) {
    Random random(seed);
    scale = random.floats(s.C, 0.5f, 1.5f);
    router = StoredWeight({test::random_matrix(random, s.num_experts, s.C, dtype, -1, 1)}, Compute::f32);
    std::vector<test::StoredMatrix> gate_up_rows, down_rows;
    for (int64_t e = 0; e < s.num_experts; ++e) {
      for (int i = 0; i < 2; ++i) gate_up_rows.push_back(test::random_matrix(random, s.F, s.C, dtype, -0.5f, 0.5f));
      down_rows.push_back(test::random_matrix(random, s.C, s.F, dtype, -0.5f, 0.5f));
    }
    gate_up = StoredWeight(std::move(gate_up_rows), compute);
    down = StoredWeight(std::move(down_rows), compute);
  }

  // On one backend.
  struct Placed {
    Norm norm;
    MoeWeights weights;

    void run(Ops& ops, Rows& x) const {
      Tensor view = ops.to_device(x.tensor());
      ops.moe_add(view, norm, weights);
      const std::span<const float> sum = ops.to_host(view);
      if (sum.data() != x.values.data()) std::ranges::copy(sum, x.values.begin());
    }
  };
  Placed place(Ops& ops, bool norm_topk_prob) const {
    const WeightSource source{scale.data(), DType::f32, 1, shape.C};
    return {{ops.place({&source, 1}, WeightUse::vector, Compute::f32), kEps},
            {router.place(ops), gate_up.place(ops, WeightUse::gated), down.place(ops, WeightUse::experts),
             shape.num_experts, shape.per_token, norm_topk_prob}};
  }
  void run(Ops& ops, Rows& x, bool norm_topk_prob) const { place(ops, norm_topk_prob).run(ops, x); }

  // Nothing if two experts are so close that rounding may choose between them.
  BoundedRow wanted(std::span<const float> x, bool norm_topk_prob) const {
    const BoundedRow h = test::rms_normed(x, scale, kEps), logits = test::linear(h, router, 0, shape.num_experts);
    std::vector<size_t> ids(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
    std::ranges::sort(ids, std::greater(), [&](size_t e) { return logits[e].value; });
    const auto chosen = static_cast<size_t>(shape.per_token);
    double error = 0;
    for (const Bounded& logit : logits) error = std::max(error, logit.error);
    if (chosen < ids.size() && logits[ids[chosen - 1]].value - logits[ids[chosen]].value <= 4 * error + 1e-6) return {};
    double total = 0;
    for (size_t i = 0; i < (norm_topk_prob ? chosen : ids.size()); ++i) total += std::exp(logits[ids[i]].value);
    ids.resize(chosen);
    std::ranges::sort(ids);
    std::vector<Bounded> sum(x.size());
    for (const size_t e : ids) {
      const double share = std::exp(logits[e].value) / total;
      const double share_error = share * (4 * error + (test::sum_error(shape.num_experts) + 8 * kHalfUlp));
      const auto id = static_cast<int64_t>(e);
      BoundedRow act = test::gated(test::linear(h, gate_up, id * 2 * shape.F, shape.F),
                                   test::linear(h, gate_up, (id * 2 + 1) * shape.F, shape.F));
      if (gate_up.compute == Compute::fp8)  // may be rounded to bf16 on its way to e4m3
        for (Bounded& value : act) value.error += 0x1p-8 * (std::abs(value.value) + value.error);
      const BoundedRow y = test::linear(act, down, id * shape.C, shape.C);
      for (size_t c = 0; c < sum.size(); ++c)
        sum[c] = test::plus(
            sum[c], {share * y[c].value, share * y[c].error + share_error * (std::abs(y[c].value) + y[c].error) +
                                             kHalfUlp * std::abs(share * y[c].value)});
    }
    for (size_t c = 0; c < sum.size(); ++c) sum[c] = test::plus(sum[c], {x[c], 0});
    return sum;
  }
};

const char* name_of(Compute compute) {
  switch (compute) {
    case Compute::f32: return "f32";
    case Compute::bf16: return "bf16";
    case Compute::fp8: return "fp8";
    default: return "int4";
  }
}

// A layer for each way in which weights enter products: a test of its own, since tools that watch every access take
// minutes for all of them.
class MoeLayer : public testing::TestWithParam<std::tuple<std::string, Compute, Shape>> {
 protected:
  void SetUp() override {
    if (backend() != "reference" && !test::machine_has(backend())) GTEST_SKIP() << "this machine lacks " << backend();
    if ((compute() == Compute::fp8 && !test::has_fp8(backend())) ||
        (compute() == Compute::int4 && !test::has_int4(backend())))
      GTEST_SKIP() << backend() << " has no " << name_of(compute());
  }
  std::string backend() const { return std::get<0>(GetParam()); }
  Compute compute() const { return std::get<1>(GetParam()); }
  Shape shape() const { return std::get<2>(GetParam()); }
  void expect_within_bounds(DType dtype) {
    const auto ops = test::make_backend(backend());
    const Layer layer(static_cast<uint64_t>(shape().C), shape(), dtype, compute());
    for (const bool norm_topk_prob : {false, true}) {
      for (const int64_t T : {0, 1, 2, 40}) {
        Random random(static_cast<uint64_t>(T) + 1);
        Rows x = Rows::random(random, T, shape().C);
        const Rows before = x;
        layer.run(*ops, x, norm_topk_prob);
        int64_t unclear = 0;
        for (int64_t t = 0; t < T; ++t) {
          const BoundedRow wanted = layer.wanted(before.row(t), norm_topk_prob);
          if (wanted.empty())
            ++unclear;
          else
            test::expect_within(fmt::format("moe_add row {} of {}, {} weights", t, T, dtype_name(dtype)), x.row(t),
                                {wanted});
        }
        EXPECT_LE(unclear, T / 10) << "rows where the choice of experts is not clear";
      }
    }
  }
};

TEST_P(MoeLayer, IsWithinItsBounds) {
  expect_within_bounds(DType::bf16);
  if (compute() == Compute::f32) expect_within_bounds(DType::f32);
}

TEST_P(MoeLayer, ARowHasTheSameBitsInAnyCompany) {
  const auto ops = test::make_backend(backend()), threaded = test::make_backend(backend(), 3);
  const Layer layer(3, shape(), DType::bf16, compute());
  Random random(4);
  const Rows x = Rows::random(random, 37, shape().C);
  Rows together = x;
  layer.run(*threaded, together, true);
  const Layer::Placed placed = layer.place(*ops, true);
  for (int64_t t = 0; t < x.num; t += 3) {
    Rows alone(1, shape().C);
    std::ranges::copy(x.row(t), alone.values.begin());
    placed.run(*ops, alone);
    ASSERT_EQ(std::memcmp(alone.values.data(), together.row(t).data(), alone.values.size() * sizeof(float)), 0)
        << "row " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, MoeLayer,
                         testing::Combine(testing::ValuesIn(test::backends()),
                                          testing::Values(Compute::f32, Compute::bf16, Compute::fp8, Compute::int4),
                                          testing::ValuesIn(kShapes)),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param);
                           std::ranges::replace(name, '-', '_');
                           return fmt::format("{}_{}_{}_experts", name, name_of(std::get<1>(info.param)),
                                              std::get<2>(info.param).num_experts);
                         });

class Moe : public test::BackendTest {};

TEST_P(Moe, ARowThatIsNotFiniteSpoilsNoOther) {
  const auto ops = test::make_backend(GetParam());
  const Layer layer(5, kShapes[4], DType::bf16, Compute::bf16);
  Random random(6);
  const Rows x = Rows::random(random, 5, layer.shape.C);
  Rows wanted = x;
  layer.run(*ops, wanted, true);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Rows got = x;
    got.at(2, 3) = bad;
    layer.run(*ops, got, true);
    for (const int64_t t : {0, 1, 3, 4}) EXPECT_TRUE(std::ranges::equal(got.row(t), wanted.row(t))) << "row " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Moe, testing::ValuesIn(test::backends()), test::backend_test_name);

std::vector<std::pair<int32_t, float>> routes(const std::vector<float>& logits, int64_t per_token, bool normed) {
  std::vector<std::pair<int32_t, float>> out;
  for (const auto& [expert, weight] : reference::route(logits, per_token, normed)) out.emplace_back(expert, weight);
  return out;
}

TEST(Route, TiesGoToTheLowestId) {
  using Routes = std::vector<std::pair<int32_t, float>>;
  EXPECT_EQ(routes({0, 0, 0, 0}, 2, true), (Routes{{0, 0.5f}, {1, 0.5f}}));
  EXPECT_EQ(routes({0, 0, 0, 0}, 2, false), (Routes{{0, 0.25f}, {1, 0.25f}}));
  EXPECT_EQ(routes({1, 5, 1, 5}, 3, true).front().first, 0);
  EXPECT_EQ(routes({-1e30f, 0, 1e30f}, 1, false), (Routes{{2, 1.0f}}));
}

}  // namespace
}  // namespace qwill
