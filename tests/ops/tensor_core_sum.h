// What the tensor cores of Hopper may make of a sum of products of bf16, and how far it may be from the truth.
#pragma once

#include <cstdint>

namespace qwill::test {

// They add 16 products to the sum before, in order of k. All 17 are first cut off (not rounded) at 2 bits below the
// last of the largest's 24, then what they add up to is cut off at 24 bits: 17 times 2^-25 of the largest and 2^-23 of
// the new sum, always towards zero. So errors of a long chain do not cancel; they grow with the sums on the way, of
// whose magnitude the bound is made: terms that are large, early and of one sign cost most. (Done by these rules, sums
// of the tests of bench_gemm and bench_int4 have the largest errors that an H100 showed, to all three digits printed;
// they are at most a fifth of this bound, as cutting off products of either sign does cancel.)
struct TensorCoreSum {
  double sum = 0, error = 0;  // so far, of whole groups of 16 terms

  constexpr void add(double product) {
    next_ += product;
    largest_ = larger(largest_, product);
    if (++count_ == 16) end_group();
  }
  // Terms that are left, with zeros.
  constexpr void finish() {
    if (count_ > 0) end_group();
  }

 private:
  static constexpr double magnitude(double x) { return x < 0 ? -x : x; }
  static constexpr double larger(double a, double b) { return a < magnitude(b) ? magnitude(b) : a; }
  constexpr void end_group() {
    error += 17 * 0x1p-25 * larger(largest_, sum);
    sum = next_;
    error += 0x1p-23 * magnitude(sum);
    largest_ = 0;
    count_ = 0;
  }

  double next_ = 0, largest_ = 0;
  int32_t count_ = 0;
};

}  // namespace qwill::test
