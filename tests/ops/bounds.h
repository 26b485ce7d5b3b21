// What an op may answer: a value computed here in double, independently of the op sets under test, and a bound on how
// far rounding in float32 may take an implementation from it, whatever its order of summation.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ops/ops.h"
#include "support/random.h"

namespace qwill::test {

constexpr double kHalfUlp = 0x1p-24;  // of float32, relative: one rounding

// Relative error of a float32 sum of n terms (to the sum of their magnitudes). Its n roundings are taken as
// independent, so 6 sqrt(n) of them bound it with probability 1 - 1e-7 (Higham & Mary 2019, a new approach to
// probabilistic rounding error analysis).
double sum_error(int64_t n);

struct Bounded {
  double value = 0;
  double error = 0;
};

// A matrix as a file would hold it: stored with its dtype at an address that is aligned to nothing.
class StoredMatrix {
 public:
  StoredMatrix(std::span<const float> values, int64_t cols, DType dtype);
  WeightSource source() const { return {bytes_.data() + 1, dtype_, rows_, cols_}; }
  // Elements as they enter a product.
  std::vector<double> values(Compute compute) const;
  int64_t cols() const { return cols_; }

 private:
  DType dtype_;
  int64_t rows_, cols_;
  std::vector<std::byte> bytes_;
  std::vector<float> values_;  // as stored
};

StoredMatrix random_matrix(Random& random, int64_t rows, int64_t cols, DType dtype, float low, float high);

// Row segments of one weight.
struct StoredWeight {
  std::vector<StoredMatrix> segments;
  Compute compute = Compute::f32;
  std::vector<double> values;  // all rows as they enter a product

  StoredWeight() = default;
  StoredWeight(std::vector<StoredMatrix> row_segments, Compute compute_in);
  Weight place(Ops& ops, WeightUse use = WeightUse::matrix) const;
  int64_t cols() const { return segments[0].cols(); }
  int64_t rows() const { return static_cast<int64_t>(values.size()) / cols(); }
  std::span<const double> row(int64_t r) const { return {values.data() + r * cols(), static_cast<size_t>(cols())}; }
};

using BoundedRow = std::vector<Bounded>;
using BoundedRows = std::vector<BoundedRow>;

BoundedRow exact(std::span<const float> row);
BoundedRow rms_normed(std::span<const float> row, std::span<const float> weight, double eps);
// a times rows first … first + count - 1 of the weight, transposed; a rounded to bf16 where the weight asks for it. An
// element so close to a rounding tie that its error could take it across may be rounded either way.
BoundedRow linear(const BoundedRow& a, const StoredWeight& weight, int64_t first, int64_t count);
// silu(gate) * up
BoundedRow gated(const BoundedRow& gate, const BoundedRow& up);
Bounded plus(const Bounded& a, const Bounded& b);

// Every element within its bound; the first that is not is reported with its place, what was got, wanted and allowed.
void expect_within(const std::string& what, std::span<const float> got, const BoundedRows& wanted);

}  // namespace qwill::test
