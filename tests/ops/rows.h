// Rows of floats that a test owns, seen as a Tensor.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "support/random.h"
#include "tensor/tensor.h"

namespace qwill::test {

struct Rows {
  int64_t num = 0, cols = 0;
  std::vector<float> values;

  Rows(int64_t num_rows, int64_t num_cols)
      : num(num_rows), cols(num_cols), values(static_cast<size_t>(num_rows * num_cols)) {}
  static Rows random(Random& random, int64_t num_rows, int64_t num_cols, float low = -2, float high = 2) {
    Rows rows(num_rows, num_cols);
    rows.values = random.floats(num_rows * num_cols, low, high);
    return rows;
  }

  // The ops take views that they may not write to where they are inputs, but the type cannot say so.
  Tensor tensor() { return {values.data(), num, cols, DType::f32}; }
  std::span<const float> row(int64_t r) const { return {values.data() + r * cols, static_cast<size_t>(cols)}; }
  Rows slice(int64_t first, int64_t count) const {
    Rows rows(count, cols);
    std::copy_n(values.begin() + first * cols, count * cols, rows.values.begin());
    return rows;
  }
  // These, then others.
  Rows with(const Rows& others) const {
    Rows rows = *this;
    rows.num += others.num;
    rows.values.insert(rows.values.end(), others.values.begin(), others.values.end());
    return rows;
  }
  float& at(int64_t r, int64_t c) { return values[static_cast<size_t>(r * cols + c)]; }
};

}  // namespace qwill::test
