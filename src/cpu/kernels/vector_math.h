// Elementwise and row functions. Each lane computes its own element the same way whatever its place, so bits do not
// depend on alignment or tails.
#pragma once

#include <cstdint>

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// e^x for x <= 88: 2^n e^r with |r| <= ln2 / 2, e^r by its Taylor polynomial of degree 7 (error < 1e-8); relative error
// about 1 ulp. Below -87.3 the result is 0 (a masked score of -infinity adds exactly nothing). NaN stays NaN: max gives
// its second operand where one is NaN.
template <typename S>
inline typename S::F exp(typename S::F x) {
  using F = typename S::F;
  const F lowest = S::set1(-87.3f);
  const F clamped = S::max(lowest, x);
  const F n = S::round(S::mul(clamped, S::set1(1.44269504f)));
  F r = S::fma(n, S::set1(-0.693145752f), clamped);  // ln 2 in two parts, the first exact in 16 bits
  r = S::fma(n, S::set1(-1.42860677e-6f), r);
  F p = S::set1(1.0f / 5040);
  p = S::fma(p, r, S::set1(1.0f / 720));
  p = S::fma(p, r, S::set1(1.0f / 120));
  p = S::fma(p, r, S::set1(1.0f / 24));
  p = S::fma(p, r, S::set1(1.0f / 6));
  p = S::fma(p, r, S::set1(0.5f));
  p = S::fma(p, r, S::set1(1.0f));
  p = S::fma(p, r, S::set1(1.0f));
  return S::zero_below(S::scale_exponent(p, n), x, lowest);
}

// Calls f(load, store) shaped for whole vectors and once for the tail: f reads with load(p) and writes with store(p,
// v).
template <typename S, typename Body>
inline void for_lanes(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + S::kLanes <= n; i += S::kLanes)
    body(i, [](const float* p) { return S::load(p); }, [](float* p, typename S::F v) { S::store(p, v); });
  if (i < n)
    body(
        i, [&](const float* p) { return S::load_first(p, n - i); },
        [&](float* p, typename S::F v) { S::store_first(p, n - i, v); });
}

// Of count values, a multiple of the lanes. What is no number may be overlooked.
template <typename S>
inline float largest_magnitude(const float* x, int64_t count) {
  typename S::F top = S::zero();
  for (int64_t i = 0; i < count; i += S::kLanes) {
    const typename S::F v = S::load(x + i);
    top = S::max(top, S::max(v, S::sub(S::zero(), v)));
  }
  return S::reduce_max(top);
}

// Zero, or not a number where one of them is an infinity or none.
template <typename S>
inline float zero_of(const float* x, int64_t count) {
  typename S::F sum = S::zero();
  for (int64_t i = 0; i < count; i += S::kLanes) sum = S::fma(S::load(x + i), S::zero(), sum);
  return S::reduce_add(sum);
}

// out = silu(gate) * up, silu(x) = x / (1 + e^-x)
template <typename S>
void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for_lanes<S>(n, [&](int64_t i, auto load, auto store) {
    const typename S::F g = load(gate + i);
    const typename S::F e = exp<S>(S::min(S::sub(S::zero(), g), S::set1(88.0f)));
    store(out + i, S::mul(S::div(g, S::add(S::set1(1.0f), e)), load(up + i)));
  });
}

template <typename S>
void add_scaled(const float* x, float scale, int64_t n, float* y) {
  const typename S::F s = S::set1(scale);
  for_lanes<S>(n, [&](int64_t i, auto load, auto store) { store(y + i, S::fma(s, load(x + i), load(y + i))); });
}

// y = x / sqrt(mean(x^2) + eps) * weight. One vector of sums over x in order, one fixed tree.
template <typename S>
void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* y) {
  typename S::F sum = S::zero();
  for_lanes<S>(n, [&](int64_t i, auto load, auto) {
    const typename S::F v = load(x + i);
    sum = S::fma(v, v, sum);
  });
  const float mean = S::reduce_add(sum) / static_cast<float>(n);
  const typename S::F scale = S::set1(1.0f / __builtin_sqrtf(mean + eps));
  for_lanes<S>(
      n, [&](int64_t i, auto load, auto store) { store(y + i, S::mul(S::mul(load(x + i), scale), load(weight + i))); });
}

}  // namespace
}  // namespace qwill::cpu
