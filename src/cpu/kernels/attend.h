// attend: causal attention of many queries against the pages of one KV head, by the formula in ops/ops.h (attend)
// q [items, Dp] f32; a page: keys [Dp, page] transposed, values [page, Dp], in the cache's type, widened in registers;
// scales of int8 enter with the sums of their dimensions and with the probabilities; out [items, Dp] f32
// Scores: lanes are keys, d in order. Softmax sums: lanes are keys, vectors in order, one tree. Outputs: lanes are d,
// keys in order. A tile (128 keys) starts afresh and is merged; items share loads, never sums.
// reads keys and values once per tile and block of items, from memory once per task; 4 * items * keys * Dp flops
// reference: ops/reference.cpp attend_row    test: tests/ops/test_attend.cpp    bench: bench/bench_attend.cpp
#pragma once

#include <type_traits>

#include "cpu/kernels.h"
#include "cpu/kernels/kv_elements.h"
#include "cpu/kernels/vector_math.h"
#include "ops/paged_kv.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// Softmax-weighted sum over some keys, relative to their largest score m; o follows in memory. l = 0: no keys yet.
struct Partial {
  float* ml;  // [2]
  float* o;   // [Dp]

  explicit Partial(float* base) : ml(base), o(base + kPartialHead) {}
  Partial(float* ml_in, float* o_in) : ml(ml_in), o(o_in) {}
};

template <typename S>
inline void copy_partial(const Partial& from, const Partial& to, int64_t dp) {
  to.ml[0] = from.ml[0];
  to.ml[1] = from.ml[1];
  for (int64_t d = 0; d < dp; d += S::kLanes) S::store(to.o + d, S::load(from.o + d));
}

// a = merge(a, b)
template <typename S>
inline void merge_partial(const Partial& a, const Partial& b, int64_t dp) {
  if (b.ml[1] == 0) return;
  if (a.ml[1] == 0) return copy_partial<S>(b, a, dp);
  const float top = a.ml[0] > b.ml[0] ? a.ml[0] : b.ml[0];
  float scales[S::kLanes];
  typename S::F pair = S::set1(a.ml[0] - top);
  pair = S::keep_first(pair, 1, S::set1(b.ml[0] - top));
  S::store(scales, exp<S>(pair));
  const typename S::F ea = S::set1(scales[0]), eb = S::set1(scales[1]);
  a.ml[0] = top;
  a.ml[1] = a.ml[1] * scales[0] + b.ml[1] * scales[1];
  for (int64_t d = 0; d < dp; d += S::kLanes)
    S::store(a.o + d, S::fma(S::load(b.o + d), eb, S::mul(S::load(a.o + d), ea)));
}

// Asks for the lines that lie as far behind `ahead` as what is read now lies behind its begin.
template <int64_t kBytes>
inline void prefetch_lines(const std::byte* ahead) {
#pragma GCC unroll 8
  for (int64_t b = 0; b < kBytes; b += 64) __builtin_prefetch(ahead + b);
}

// scores[i][0 … page_size) of kItems queries against one page's keys. Of scaled keys the dimensions that share a scale
// are summed first.
template <typename S, typename E, int kItems>
inline void score_page(const float* const* q, const E* keys, const std::byte* ahead, int64_t page_size, int64_t dp,
                       float scale, float (*scores)[kTileKeys]) {
  constexpr int kVectors = S::kAttendVectors;
  constexpr int64_t kKeys = kVectors * S::kLanes, kBytes = kKeys * static_cast<int64_t>(sizeof(E));
  const int64_t run = is_scaled<E> ? kKvScaleDims : dp;
  for (int64_t j = 0; j < page_size; j += kKeys) {
    for (int64_t first = 0; first < dp; first += run) {
      typename S::F sums[kItems][kVectors];
      for (int i = 0; i < kItems; ++i)
        for (int v = 0; v < kVectors; ++v) sums[i][v] = S::zero();
      for (int64_t d = first; d < first + run; ++d) {
        prefetch_lines<kBytes>(ahead);
        ahead += kBytes;
        typename S::F k[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) k[v] = S::load(keys + d * page_size + j + v * S::kLanes);
#pragma GCC unroll 8
        for (int i = 0; i < kItems; ++i) {
          const typename S::F x = S::set1(q[i][d]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) sums[i][v] = S::fma(x, k[v], sums[i][v]);
        }
      }
      for (int v = 0; v < kVectors; ++v) {
        const int64_t key = j + v * S::kLanes;
        [[maybe_unused]] typename S::F of_keys;
        if constexpr (is_scaled<E>) of_keys = S::load(scales_of(keys, page_size, dp) + first / run * page_size + key);
        for (int i = 0; i < kItems; ++i) {
          typename S::F sum = sums[i][v];
          if constexpr (is_scaled<E>)
            sum = first == 0 ? S::mul(sum, of_keys) : S::fma(sum, of_keys, S::load(scores[i] + key));
          S::store(scores[i] + key, first + run < dp ? sum : S::mul(sum, S::set1(scale)));
        }
      }
    }
  }
}

// scores -> exp(score - max) in place, keys from num_keys on to 0; gives max and sum.
template <typename S>
inline void softmax_tile(float* scores, int64_t num_keys, float* ml) {
  constexpr float kMasked = -__builtin_inff();
  typename S::F top = S::set1(kMasked);
  for (int64_t j = 0; j < kTileKeys; j += S::kLanes)
    top = S::max(top, S::keep_first(S::load(scores + j), num_keys - j, S::set1(kMasked)));
  const float m = S::reduce_max(top);
  typename S::F sum = S::zero();
  for (int64_t j = 0; j < kTileKeys; j += S::kLanes) {
    const typename S::F p = S::keep_first(exp<S>(S::sub(S::load(scores + j), S::set1(m))), num_keys - j, S::zero());
    S::store(scores + j, p);
    sum = S::add(sum, p);
  }
  ml[0] = m;
  ml[1] = S::reduce_add(sum);
}

// o[i][d … d + kVectors lanes) (+)= sum_j p[i][j] values[j][d …] over num_keys keys of one page. Of scaled values p has
// the scale in it: p[i][j] is for dimension d and its neighbours, p[i][j + kTileKeys] for the next kKvScaleDims.
template <typename S, typename E, int kItems, int kVectors>
inline void weigh_values(const float* const* p, const E* values, const std::byte* ahead, int64_t num_keys, int64_t dp,
                         bool fresh, float* const* o) {
  constexpr int64_t kBytes = kVectors * S::kLanes * static_cast<int64_t>(sizeof(E));
  typename S::F sums[kItems][kVectors];
  for (int i = 0; i < kItems; ++i)
    for (int v = 0; v < kVectors; ++v) sums[i][v] = fresh ? S::zero() : S::load(o[i] + v * S::kLanes);
  for (int64_t j = 0; j < num_keys; ++j) {
    prefetch_lines<kBytes>(ahead + j * dp * static_cast<int64_t>(sizeof(E)));
    typename S::F x[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) x[v] = S::load(values + j * dp + v * S::kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kItems; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const int64_t run = is_scaled<E> ? v * S::kLanes / kKvScaleDims : 0;
        sums[i][v] = S::fma(S::set1(p[i][run * kTileKeys + j]), x[v], sums[i][v]);
      }
    }
  }
  for (int i = 0; i < kItems; ++i)
    for (int v = 0; v < kVectors; ++v) S::store(o[i] + v * S::kLanes, sums[i][v]);
}

// All dimensions of one page's values.
template <typename S, typename E, int kItems>
inline void weigh_page(const float* const* p, const E* values, const std::byte* ahead, int64_t page_size,
                       int64_t num_keys, int64_t dp, bool fresh, float (*o)[kMaxHeadDim]) {
  // Few items: more dimensions at once, so that a page is read in one sweep.
  constexpr int kVectors = kItems <= 3 ? 2 * S::kAttendVectors : S::kAttendVectors;
  constexpr int64_t kRuns = is_scaled<E> ? kMaxHeadDim / kKvScaleDims : 1;
  [[maybe_unused]] alignas(64) float scaled[kItems][kRuns][kTileKeys];
  if constexpr (is_scaled<E>)
    for (int64_t run = 0; run < dp / kKvScaleDims; ++run)
      for (int64_t j = 0; j < page_size; j += S::kLanes) {
        const typename S::F scales = S::load(scales_of(values, page_size, dp) + run * page_size + j);
        for (int i = 0; i < kItems; ++i) S::store(scaled[i][run] + j, S::mul(S::load(p[i] + j), scales));
      }
  const auto sweep = [&]<int kWidth>(std::integral_constant<int, kWidth>, int64_t d) {
    const float* weights[kItems];
    float* out[kItems];
    for (int i = 0; i < kItems; ++i) {
      weights[i] = is_scaled<E> ? scaled[i][d / kKvScaleDims] : p[i];
      out[i] = &o[i][d];
    }
    weigh_values<S, E, kItems, kWidth>(weights, values + d, ahead + d * static_cast<int64_t>(sizeof(E)), num_keys, dp,
                                       fresh, out);
  };
  int64_t d = 0;
  for (; d + kVectors * S::kLanes <= dp; d += kVectors * S::kLanes) sweep(std::integral_constant<int, kVectors>(), d);
  for (; d < dp; d += S::kLanes) sweep(std::integral_constant<int, 1>(), d);
}

// Where the numbers of one tile lie, in the order in which they are read.
template <typename E>
struct TilePages {
  const AttendTask& t;
  int64_t tile;
  int64_t per_tile = kTileKeys / t.kv.page_size;

  const std::byte* keys(int64_t page) const {
    return t.kv.data + t.kv.pages[tile * per_tile + page] * t.kv.page_stride;
  }
  const std::byte* values(int64_t page) const { return keys(page) + t.kv.values_offset; }
  // What is read after the last values of this tile.
  const std::byte* next(int64_t last_tile, const std::byte* otherwise) const {
    return tile + 1 < last_tile ? keys(per_tile) : otherwise;
  }
};

// One tile for kItems items from `item` on, merged into their groups. `first`: nobody has read the tile before.
template <typename S, typename E, int kItems>
void attend_tile(const AttendTask& t, const TilePages<E>& pages, int64_t last_tile, int64_t item, bool first,
                 float* groups) {
  const int64_t dp = t.kv.dim, page_size = t.kv.page_size, first_key = pages.tile * kTileKeys;
  alignas(64) float scores[kItems][kTileKeys];
  alignas(64) float o[kItems][kMaxHeadDim];
  const float* q[kItems];
  const float* p[kItems];
  for (int i = 0; i < kItems; ++i) q[i] = t.q + (item + i) * dp;
  // Keys that the last (furthest) item sees; the others mask more.
  const int64_t seen = t.positions[item + kItems - 1] + 1 - first_key;
  const int64_t num_keys = seen < kTileKeys ? seen : kTileKeys, num_pages = (num_keys + page_size - 1) / page_size;
  for (int64_t page = 0; page < num_pages; ++page) {
    const std::byte* keys = pages.keys(page);
    const std::byte* ahead = !first ? keys : page + 1 < num_pages ? pages.keys(page + 1) : pages.values(0);
    score_page<S, E, kItems>(q, reinterpret_cast<const E*>(keys), ahead, page_size, dp, t.scale,
                             reinterpret_cast<float(*)[kTileKeys]>(&scores[0][page * page_size]));
  }
  float ml[kItems][2];
  for (int i = 0; i < kItems; ++i) {
    for (int64_t j = num_pages * page_size; j < kTileKeys; ++j) scores[i][j] = 0;
    softmax_tile<S>(scores[i], t.positions[item + i] + 1 - first_key, ml[i]);
  }
  for (int64_t page = 0; page < num_pages; ++page) {
    const std::byte* values = pages.values(page);
    const std::byte* ahead = !first                 ? values
                             : page + 1 < num_pages ? pages.values(page + 1)
                                                    : pages.next(last_tile, values);
    const int64_t rest = num_keys - page * page_size, keys = rest < page_size ? rest : page_size;
    for (int i = 0; i < kItems; ++i) p[i] = &scores[i][page * page_size];
    weigh_page<S, E, kItems>(p, reinterpret_cast<const E*>(values), ahead, page_size, keys, dp, page == 0, o);
  }
  for (int i = 0; i < kItems; ++i) {
    if (t.positions[item + i] < first_key) continue;
    merge_partial<S>(Partial(groups + (item + i) * partial_floats(dp)), Partial(ml[i], o[i]), dp);
  }
}

template <typename S, typename E, int kItems = 1, typename... Args>
inline void attend_tile_of(int64_t num_items, const Args&... args) {
  if (num_items == kItems) return attend_tile<S, E, kItems>(args...);
  if constexpr (kItems < S::kAttendItems) attend_tile_of<S, E, kItems + 1>(num_items, args...);
}

template <typename S>
inline void divide_by_sum(const Partial& total, int64_t dp, float* out) {
  const typename S::F l = S::set1(total.ml[1]);
  for (int64_t d = 0; d < dp; d += S::kLanes) S::store(out + d, S::div(S::load(total.o + d), l));
}

template <typename S, typename E>
void attend_elements(const AttendTask& t) {
  const int64_t dp = t.kv.dim, part = partial_floats(dp), all = t.num_items * part;
  float* const totals = t.scratch + all;
  if (!t.parts)
    for (int64_t i = 0; i < t.num_items; ++i) Partial(totals + i * part).ml[1] = 0;
  const int64_t num_tiles = t.positions[t.num_items - 1] / kTileKeys + 1;
  for (int64_t g = t.first_group; g < t.last_group; ++g) {
    float* const groups = t.parts ? t.parts + g * all : t.scratch;
    for (int64_t i = 0; i < t.num_items; ++i) Partial(groups + i * part).ml[1] = 0;
    const int64_t end = (g + 1) * kGroupTiles, last = end < num_tiles ? end : num_tiles;
    for (int64_t tile = g * kGroupTiles; tile < last; ++tile) {
      const TilePages<E> pages{t, tile};
      int64_t i = 0;
      while (t.positions[i] < tile * kTileKeys) ++i;  // these see nothing of the tile
      // Blocks of items as even as can be.
      bool first = true;
      for (int64_t blocks = (t.num_items - i + S::kAttendItems - 1) / S::kAttendItems; blocks > 0; --blocks) {
        const int64_t count = (t.num_items - i + blocks - 1) / blocks;
        attend_tile_of<S, E>(count, t, pages, g + 1 < t.last_group ? num_tiles : last, i, first, groups);
        first = false;
        i += count;
      }
    }
    if (!t.parts)
      for (int64_t i = 0; i < t.num_items; ++i)
        merge_partial<S>(Partial(totals + i * part), Partial(groups + i * part), dp);
  }
  if (!t.parts)
    for (int64_t i = 0; i < t.num_items; ++i) divide_by_sum<S>(Partial(totals + i * part), dp, t.out + i * dp);
}

template <typename S>
void attend(const AttendTask& t) {
  switch (t.kv.dtype) {
    case DType::f16: return attend_elements<S, f16>(t);
    case DType::bf16: return attend_elements<S, bf16>(t);
    case DType::i8: return attend_elements<S, int8_t>(t);
    default: return attend_elements<S, float>(t);
  }
}

// The groups of one item, in order, into the first.
template <typename S>
void merge_groups(float* parts, int64_t stride, int64_t num_groups, int64_t dp, float* out) {
  for (int64_t g = 1; g < num_groups; ++g) merge_partial<S>(Partial(parts), Partial(parts + g * stride), dp);
  divide_by_sum<S>(Partial(parts), dp, out);
}

}  // namespace
}  // namespace qwill::cpu
