// The counter-based generator of ops/sampling.h on the device (Philox4x32-10, Salmon et al. 2011), and a warp's search
// for the token with the largest score + Gumbel noise.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace qwill::cuda {

// A token and what it is judged by. Higher values first; equal values by id. Without a token: id 0.
struct Found {
  double value;
  int32_t id;
};
constexpr double kMinusInfinity = -__builtin_huge_val();

__device__ __forceinline__ Found better(const Found& a, const Found& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id) ? a : b;
}

__device__ __forceinline__ Found best_of_warp(Found found) {
  for (int offset = 16; offset > 0; offset /= 2)
    found = better(found, {__shfl_xor_sync(~0u, found.value, offset), __shfl_xor_sync(~0u, found.id, offset)});
  return found;
}

// Larger floats have larger keys; both zeros have one.
__device__ __forceinline__ uint32_t float_key(float x) {
  const uint32_t bits = __float_as_uint(__fadd_rn(x, 0.0f));
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float float_of_key(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

__device__ __forceinline__ uint4 philox4x32_10(uint4 c, uint2 k) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c.x, p1 = uint64_t{0xCD9E8D57u} * c.z;
    c = {static_cast<uint32_t>(p1 >> 32) ^ c.y ^ k.x, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c.w ^ k.y, static_cast<uint32_t>(p0)};
    k.x += 0x9E3779B9u;
    k.y += 0xBB67AE85u;
  }
  return c;
}

// What a row's noise and scores depend on.
struct GumbelRow {
  uint64_t seed;
  uint64_t position;
  uint32_t choice;
  double temperature;
};

// The largest logit / temperature - log(-log(u)) in double, over groups of four tokens (one call of the generator
// each).
//
// Double logarithms are spared for tokens that cannot win. With v = 1 - u, log(u) - log(v) <= -log(-log(u)) <= -log(v):
// in float, rounded generously, this bounds a noisy score from both sides. The highest lower bound of the warp is the
// bar; a token whose upper bound is below it is dropped; one that reaches it raises the bar, and is held back in its
// lane until another takes its place or the end has come, when the bar has mostly passed it. So one or two tokens of a
// row are evaluated, and the result is that of evaluating all.
class GumbelSearch {
 public:
  __device__ explicit GumbelSearch(const GumbelRow& row)
      : row_(row), inverse_temperature_(static_cast<float>(1 / row.temperature)) {}

  // The whole warp calls this together. Tokens 4 group … 4 group + 3; those that must not be drawn have -infinity.
  __device__ void visit(uint32_t group, const float4& four) {
    const float logits[4] = {four.x, four.y, four.z, four.w};
    float bound[4];
    uint32_t pending = 0;
    // Where a bound is not a number (scores beyond float), the token is evaluated.
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float score = logits[i] * inverse_temperature_;
      bound[i] = fmaf(fabsf(score), kRelativeSlack, score);
      pending |= static_cast<uint32_t>(logits[i] > -INFINITY && !(bound[i] < bar_ - kMaxNoise)) << i;
    }
    if (!__any_sync(~0u, pending)) return;
    const uint4 random = philox4x32_10(
        {group, static_cast<uint32_t>(row_.position), static_cast<uint32_t>(row_.position >> 32), row_.choice},
        {static_cast<uint32_t>(row_.seed), static_cast<uint32_t>(row_.seed >> 32)});
    const uint32_t words[4] = {random.x, random.y, random.z, random.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      bound[i] += fmaf(__log2f(__uint2float_rz(~words[i])), -kLog2, 32 * kLog2 + kSlack);
      if (bound[i] < bar_) pending &= ~(1u << i);
    }
    while (__any_sync(~0u, pending)) {
      if (pending) hold_most_promising(group, logits, words, bound, pending);
      bar_ = float_of_key(__reduce_max_sync(~0u, float_key(bar_)));
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (bound[i] < bar_) pending &= ~(1u << i);
    }
  }

  // No token below it wins. The same in all lanes.
  __device__ float bar() const { return bar_; }

  // This lane's best token, or none if it is below the bar of this warp or another of the row.
  __device__ Found finish(float bar) {
    bar_ = fmaxf(bar_, bar);
    evaluate_held();
    return found_;
  }

 private:
  static constexpr float kLog2 = 0.69314718f;
  static constexpr float kMaxNoise = 23;  // -log(2^-33) = 22.9
  static constexpr float kRelativeSlack = 0x1p-21f;
  static constexpr float kSlack = 0x1p-13f;

  __device__ void hold_most_promising(uint32_t group, const float (&logits)[4], const uint32_t (&words)[4],
                                      const float (&bound)[4], uint32_t& pending) {
    evaluate_held();
    int chosen = -1;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!(pending >> i & 1) || (chosen >= 0 && !(bound[i] > held_bound_))) continue;
      chosen = i;
      held_bound_ = bound[i];
      held_logit_ = logits[i];
      held_word_ = words[i];
    }
    pending &= ~(1u << chosen);
    held_id_ = static_cast<int32_t>(4 * group) + chosen;
    const float score = held_logit_ * inverse_temperature_;
    const float noise = __log2f(__uint2float_rz(held_word_)) - __log2f(__uint2float_ru(~held_word_) + 1);
    bar_ = fmaxf(bar_, fmaf(fabsf(score), -kRelativeSlack, score) + fmaf(noise, kLog2, -kSlack));
  }

  __device__ void evaluate_held() {
    if (held_id_ < 0 || held_bound_ < bar_) return;
    const double u = (held_word_ + 0.5) * 0x1p-32;
    found_ = better({static_cast<double>(held_logit_) / row_.temperature - log(-log(u)), held_id_}, found_);
    held_id_ = -1;
  }

  GumbelRow row_;
  float inverse_temperature_;
  float bar_ = -INFINITY;
  float held_bound_ = 0, held_logit_ = 0;
  uint32_t held_word_ = 0;
  int32_t held_id_ = -1;  // -1: none
  Found found_ = {kMinusInfinity, 0};
};

}  // namespace qwill::cuda
