// store_kv: one key and one value of a KV head into their slot of a page, in the cache's type
// f16 saturates at its largest number. int8: kKvScaleDims dimensions share a scale, their largest magnitude / 127
// rounded up to bf16; a block with a number that is not finite gets NaN for its scale, and is NaN when it is read.
// test: tests/ops/test_attend.cpp
#pragma once

#include <cstring>
#include <type_traits>

#include "cpu/kernels.h"
#include "cpu/kernels/vector_math.h"
#include "ops/paged_kv.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

template <typename E>
constexpr bool is_scaled = std::is_same_v<E, int8_t>;

// Behind a page's keys, and behind its values: a scale for each kKvScaleDims dimensions of each entry,
// [Dp / kKvScaleDims, page].
template <typename E>
inline auto scales_of(E* elements, int64_t page_size, int64_t dp) {
  using Scale = std::conditional_t<std::is_const_v<E>, const bf16, bf16>;
  return reinterpret_cast<Scale*>(elements + page_size * dp);
}

template <typename S>
inline void convert(const float* from, int64_t dp, float* to, bf16*) {
  std::memcpy(to, from, static_cast<size_t>(dp) * sizeof(float));
}

template <typename S>
inline void convert(const float* from, int64_t dp, bf16* to, bf16*) {
  for (int64_t d = 0; d < dp; d += S::kLanes) S::store(to + d, S::load(from + d));
}

template <typename S>
inline void convert(const float* from, int64_t dp, f16* to, bf16*) {
  const typename S::F most = S::set1(65504.0f), least = S::set1(-65504.0f);
  for (int64_t d = 0; d < dp; d += S::kLanes) S::store(to + d, S::min(most, S::max(least, S::load(from + d))));
}

template <typename S>
inline void convert(const float* from, int64_t dp, int8_t* to, bf16* scales) {
  for (int64_t first = 0; first < dp; first += kKvScaleDims) {
    const float wanted =
        largest_magnitude<S>(from + first, kKvScaleDims) / 127 + zero_of<S>(from + first, kKvScaleDims);
    uint32_t bits;
    std::memcpy(&bits, &wanted, 4);
    bits = (bits + 0xffffu) & 0xffff0000u;
    *scales++ = {static_cast<uint16_t>(bits >> 16)};
    float scale;
    std::memcpy(&scale, &bits, 4);
    const typename S::F inverse = S::set1(scale >= 1e-37f ? 1 / scale : 0);
    for (int64_t d = first; d < first + kKvScaleDims; d += S::kLanes)
      S::store(to + d, S::mul(S::load(from + d), inverse));
  }
}

template <typename S, typename E>
inline void store_elements(const float* key, const float* value, const KvSlot& slot) {
  const int64_t dp = slot.dim, page_size = slot.page_size;
  alignas(64) E element[kMaxHeadDim];
  [[maybe_unused]] bf16 scales[kMaxHeadDim / kKvScaleDims];
  E* const keys = reinterpret_cast<E*>(slot.keys);
  convert<S>(key, dp, element, scales);
  for (int64_t d = 0; d < dp; ++d) keys[d * page_size + slot.entry] = element[d];
  if constexpr (is_scaled<E>)
    for (int64_t b = 0; b < dp / kKvScaleDims; ++b)
      scales_of(keys, page_size, dp)[b * page_size + slot.entry] = scales[b];
  E* const values = reinterpret_cast<E*>(slot.values);
  convert<S>(value, dp, values + slot.entry * dp, scales);
  if constexpr (is_scaled<E>)
    for (int64_t b = 0; b < dp / kKvScaleDims; ++b)
      scales_of(values, page_size, dp)[b * page_size + slot.entry] = scales[b];
}

template <typename S>
void store_kv(const float* key, const float* value, const KvSlot& slot) {
  switch (slot.dtype) {
    case DType::f16: return store_elements<S, f16>(key, value, slot);
    case DType::bf16: return store_elements<S, bf16>(key, value, slot);
    case DType::i8: return store_elements<S, int8_t>(key, value, slot);
    default: return store_elements<S, float>(key, value, slot);
  }
}

}  // namespace
}  // namespace qwill::cpu
