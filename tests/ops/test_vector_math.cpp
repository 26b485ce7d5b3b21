// rms_norm, silu and exp of the reference and every CPU path, at all lengths up to a few vectors and at the ends of
// float32.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/dispatch.h"
#include "ops/bounds.h"
#include "ops/reference.h"
#include "support/backends.h"

namespace qwill {
namespace {

using test::kHalfUlp;
using test::Random;

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

class VectorMath : public test::BackendTest {
 protected:
  std::vector<float> silu(const std::vector<float>& gate, float up = 1) {
    const std::vector<float> ups(gate.size(), up);
    std::vector<float> out(gate.size());
    if (GetParam() == "reference")
      for (size_t i = 0; i < gate.size(); ++i) out[i] = static_cast<float>(reference::silu(gate[i]) * up);
    else
      cpu::select_kernels(GetParam()).silu_mul(gate.data(), ups.data(), static_cast<int64_t>(gate.size()), out.data());
    return out;
  }
  std::vector<float> rms_norm(const std::vector<float>& x, const std::vector<float>& weight, float eps) {
    std::vector<float> out(x.size());
    if (GetParam() == "reference")
      reference::rms_norm(x, weight, eps, out);
    else
      cpu::select_kernels(GetParam())
          .rms_norm(x.data(), weight.data(), static_cast<int64_t>(x.size()), eps, out.data());
    return out;
  }
};

// Far below 0, silu(x) = x / (1 + e^-x) is x e^x: its relative error shows that of exp.
TEST_P(VectorMath, ExpIsAccurate) {
  std::vector<float> gates;
  for (float x = -87; x <= 30; x += 0.00037f) gates.push_back(x);
  const std::vector<float> got = silu(gates);
  double worst = 0;
  float worst_at = 0;
  for (size_t i = 0; i < gates.size(); ++i) {
    const double wanted = gates[i] / (1 + std::exp(-static_cast<double>(gates[i])));
    const double error = std::abs(got[i] - wanted) / std::abs(wanted);
    if (wanted != 0 && error > worst) worst = error, worst_at = gates[i];
  }
  // exp within 1 ulp (two half ulps); sum, quotient and product round once each.
  EXPECT_LE(worst, 5 * kHalfUlp) << fmt::format("at {}: {:.2f} half ulps", worst_at, worst / kHalfUlp);
}

TEST_P(VectorMath, SiluAtTheExtremes) {
  const std::vector<float> got = silu({0, -0.0f, 100, -100, 1e4f, -1e4f, 3e38f, -3e38f, 88, -88, kInf, kNan});
  EXPECT_EQ(got[0], 0);
  EXPECT_EQ(got[1], 0);
  EXPECT_EQ(got[2], 100);
  EXPECT_NEAR(got[3], 0, 1e-36);
  EXPECT_EQ(got[4], 1e4f);
  EXPECT_NEAR(got[5], 0, 1e-33);
  EXPECT_EQ(got[6], 3e38f);
  EXPECT_NEAR(got[7] / 3e38f, 0, 1e-37);
  EXPECT_EQ(got[8], 88);
  EXPECT_NEAR(got[9], 0, 1e-35);
  EXPECT_EQ(got[10], kInf);
  EXPECT_TRUE(std::isnan(got[11]));
}

// An element's bits do not depend on its place in the vector or the tail.
TEST_P(VectorMath, SiluHasTheSameBitsAtEveryPlace) {
  Random random(1);
  const std::vector<float> gates = random.floats(70, -20, 20);
  const std::vector<float> whole = silu(gates, 1.7f);
  for (size_t first = 0; first < gates.size(); ++first)
    for (size_t last = first + 1; last <= gates.size(); last += 7) {
      const std::vector<float> part =
          silu({gates.begin() + static_cast<int64_t>(first), gates.begin() + static_cast<int64_t>(last)}, 1.7f);
      ASSERT_EQ(std::memcmp(part.data(), &whole[first], part.size() * sizeof(float)), 0) << first << " to " << last;
    }
}

TEST_P(VectorMath, RmsNormIsWithinItsBounds) {
  Random random(2);
  for (int64_t n = 1; n <= 100; ++n) {
    for (const float size : {1e-15f, 1.0f, 1e15f}) {
      const std::vector<float> x = random.floats(n, -size, size), weight = random.floats(n, -2, 2);
      for (const float eps : {1e-6f, 1e-5f})
        test::expect_within(fmt::format("rms_norm of {} values below {}", n, size), rms_norm(x, weight, eps),
                            {test::rms_normed(x, weight, eps)});
    }
  }
  const std::vector<float> zeros(40, 0.0f), ones(40, 1.0f);
  EXPECT_EQ(rms_norm(zeros, ones, 1e-6f), zeros);
}

TEST_P(VectorMath, RmsNormPassesNaNOn) {
  for (const size_t n : {1u, 7u, 16u, 33u}) {
    std::vector<float> x(n, 1.0f);
    x.back() = kNan;
    for (const float y : rms_norm(x, std::vector<float>(n, 1.0f), 1e-6f)) EXPECT_TRUE(std::isnan(y));
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, VectorMath, testing::ValuesIn(test::host_backends()), test::backend_test_name);

}  // namespace
}  // namespace qwill
