#include "ops/bounds.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/tensor_core_sum.h"
#include "tensor/int4.h"

namespace qwill::test {
namespace {

// Independent of tensor/dtype.h: the nearest value with a mantissa of `bits` bits and exponents from lowest on, ties to
// even, by arithmetic.
double round_to_bits(double x, int bits, int lowest) {
  if (x == 0 || !std::isfinite(x)) return x;
  const double ulp = std::ldexp(1.0, std::max(std::ilogb(x), lowest) - bits);
  return std::nearbyint(x / ulp) * ulp;
}
double round_to_bf16(double x) { return round_to_bits(x, 7, -126); }
double round_to_f16(double x) { return round_to_bits(x, 10, -14); }
double round_to_e4m3(double x) { return std::clamp(round_to_bits(x, 3, -6), -448.0, 448.0); }

// Values that share a scale in e4m3, as products meet them: the scale is the largest magnitude / 448.
void round_to_fp8(std::span<double> values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  const float scale = std::max(static_cast<float>(most), 0x1p-100f) / 448.0f, inverse = 1.0f / scale;
  for (double& value : values) value = round_to_e4m3(static_cast<float>(value) * inverse) * scale;
}

// The same of 128 columns of activations that are known within bounds: what is so close to a tie that its error, or the
// scale's, could take it across may be rounded either way.
void round_to_fp8(std::span<Bounded> block) {
  double most = 0, error = 0;
  for (const Bounded& x : block) most = std::max(most, std::abs(x.value)), error = std::max(error, x.error);
  const double scale = std::max(most, 0x1p-100) / 448, relative = error / (448 * scale) + 4 * kHalfUlp;
  const auto rounded = [&](double x) { return round_to_e4m3(x / scale) * scale; };
  for (Bounded& x : block) {
    const double value = rounded(x.value), slack = x.error + std::abs(x.value) * relative;
    x = {value, std::max(std::abs(rounded(x.value + slack) - value), std::abs(rounded(x.value - slack) - value)) +
                    std::abs(value) * relative};
  }
}

uint16_t half_bits(float x) {  // of values that half precision holds exactly
  const int sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::abs(static_cast<double>(x));
  if (magnitude < 0x1p-14) return static_cast<uint16_t>(sign | std::lround(magnitude * 0x1p24));
  const int exponent = std::ilogb(magnitude);
  const long mantissa = std::lround(std::ldexp(magnitude, 10 - exponent)) - 1024;
  return static_cast<uint16_t>(sign | ((exponent + 15) << 10) | mantissa);
}

}  // namespace

double sum_error(int64_t n) {
  return std::min(static_cast<double>(n), 6 * std::sqrt(static_cast<double>(n))) * kHalfUlp;
}

StoredMatrix::StoredMatrix(std::span<const float> values, int64_t cols, DType dtype)
    : dtype_(dtype), rows_(static_cast<int64_t>(values.size()) / cols), cols_(cols) {
  bytes_.resize(1 + values.size() * static_cast<size_t>(dtype_bytes(dtype)));
  std::byte* out = bytes_.data() + 1;
  for (const float value : values) {
    if (dtype == DType::f32) {
      values_.push_back(value);
      std::memcpy(out, &value, 4);
    } else {
      values_.push_back(static_cast<float>(dtype == DType::bf16 ? round_to_bf16(value) : round_to_f16(value)));
      uint32_t bits;
      std::memcpy(&bits, &values_.back(), 4);
      const uint16_t stored = dtype == DType::bf16 ? static_cast<uint16_t>(bits >> 16) : half_bits(values_.back());
      std::memcpy(out, &stored, 2);
    }
    out += dtype_bytes(dtype);
  }
}

std::vector<double> StoredMatrix::values(Compute compute) const {
  std::vector<double> out(values_.begin(), values_.end());
  if (meets_bf16(compute))
    for (double& value : out) value = round_to_bf16(value);
  if (compute == Compute::int4) {
    std::vector<float> rounded(out.begin(), out.end());
    for (size_t first = 0; first < rounded.size(); first += static_cast<size_t>(cols_))
      round_to_int4(std::span(rounded).subspan(first, static_cast<size_t>(cols_)));
    out.assign(rounded.begin(), rounded.end());
  }
  if (compute == Compute::fp8)
    for (int64_t row = 0; row < rows_; ++row)
      round_to_fp8(std::span(out).subspan(static_cast<size_t>(row * cols_), static_cast<size_t>(cols_)));
  return out;
}

StoredMatrix random_matrix(Random& random, int64_t rows, int64_t cols, DType dtype, float low, float high) {
  return StoredMatrix(random.floats(rows * cols, low, high), cols, dtype);
}

StoredWeight::StoredWeight(std::vector<StoredMatrix> row_segments, Compute compute_in)
    : segments(std::move(row_segments)), compute(compute_in) {
  for (const StoredMatrix& segment : segments) {
    const std::vector<double> more = segment.values(compute);
    values.insert(values.end(), more.begin(), more.end());
  }
}

Weight StoredWeight::place(Ops& ops, WeightUse use) const {
  std::vector<WeightSource> sources;
  for (const StoredMatrix& segment : segments) sources.push_back(segment.source());
  return ops.place(sources, use, compute);
}

BoundedRow exact(std::span<const float> row) {
  BoundedRow out;
  for (const float value : row) out.push_back({value, 0});
  return out;
}

BoundedRow rms_normed(std::span<const float> row, std::span<const float> weight, double eps) {
  double squares = 0;
  for (const float value : row) squares += static_cast<double>(value) * value;
  const auto n = static_cast<int64_t>(row.size());
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
  // The sum's error is halved by the root; mean, eps, root, quotient and two products round once each.
  const double relative = sum_error(n) / 2 + 6 * kHalfUlp;
  BoundedRow out;
  for (size_t c = 0; c < row.size(); ++c) {
    const double value = row[c] * scale * weight[c];
    out.push_back({value, std::abs(value) * relative});
  }
  return out;
}

BoundedRow linear(const BoundedRow& a, const StoredWeight& weight, int64_t first, int64_t count) {
  BoundedRow operand = a;
  if (meets_bf16(weight.compute)) {
    for (Bounded& x : operand) {
      const double value = round_to_bf16(x.value);
      x = {value, std::max(std::abs(round_to_bf16(x.value + x.error) - value),
                           std::abs(round_to_bf16(x.value - x.error) - value))};
    }
  }
  if (weight.compute == Compute::fp8) {
    constexpr size_t kBlock = 128;
    for (size_t k = 0; k < operand.size(); k += kBlock)
      round_to_fp8(std::span(operand).subspan(k, std::min(kBlock, operand.size() - k)));
  }
  BoundedRow out;
  const auto n = static_cast<int64_t>(a.size());
  for (int64_t r = first; r < first + count; ++r) {
    const std::span<const double> w = weight.row(r);
    double sum = 0, magnitudes = 0, inherited = 0;
    TensorCoreSum cut_off;
    for (size_t k = 0; k < w.size(); ++k) {
      sum += operand[k].value * w[k];
      magnitudes += std::abs(operand[k].value * w[k]);
      cut_off.add(operand[k].value * w[k]);
      inherited += operand[k].error * std::abs(w[k]);
    }
    cut_off.finish();
    // Products of bf16 may be added up by tensor cores, whose errors are not independent; of sums of e4m3 they keep
    // some 14 bits. Instructions that multiply bf16 flush denormals.
    double own = sum_error(n) * magnitudes;
    if (meets_bf16(weight.compute)) own = std::max(own, cut_off.error);
    if (weight.compute == Compute::fp8) own = 1e-3 * magnitudes;
    out.push_back({sum, own + inherited + static_cast<double>(n) * 0x1p-126});
  }
  return out;
}

BoundedRow gated(const BoundedRow& gate, const BoundedRow& up) {
  BoundedRow out;
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i].value, s = g / (1 + std::exp(-g));
    // silu's slope is below 1.1; exp, sum and quotient cost a few roundings.
    const double s_error = 1.1 * gate[i].error + 6 * kHalfUlp * std::abs(s) + 1e-35;
    const double value = s * up[i].value;
    out.push_back({value, s_error * (std::abs(up[i].value) + up[i].error) + std::abs(s) * up[i].error +
                              kHalfUlp * std::abs(value)});
  }
  return out;
}

Bounded plus(const Bounded& a, const Bounded& b) {
  const double value = a.value + b.value;
  return {value, a.error + b.error + kHalfUlp * (std::abs(value) + a.error + b.error)};
}

void expect_within(const std::string& what, std::span<const float> got, const BoundedRows& wanted) {
  const size_t cols = wanted.empty() ? 0 : wanted[0].size();
  ASSERT_EQ(got.size(), wanted.size() * cols) << what;
  double squares = 0, error_squares = 0;
  int64_t num_wrong = 0;
  std::string first;
  for (size_t t = 0; t < wanted.size(); ++t) {
    for (size_t c = 0; c < cols; ++c) {
      const auto& [value, error] = wanted[t][c];
      const double g = got[t * cols + c], off = std::abs(g - value);
      squares += value * value;
      error_squares += off * off;
      // A float32 answer may always be rounded once.
      if (off <= error + kHalfUlp * std::abs(value)) continue;
      if (num_wrong++ == 0)
        first = fmt::format("row {} column {}: got {:.9g}, wanted {:.9g} ± {:.2g}", t, c, g, value, error);
    }
  }
  EXPECT_EQ(num_wrong, 0) << what << ": " << first
                          << fmt::format("; |error| / |wanted| over all: {:.2g}", std::sqrt(error_squares / squares));
}

}  // namespace qwill::test
