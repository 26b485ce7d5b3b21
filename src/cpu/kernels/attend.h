// attend: causal attention of many queries against the pages of one KV head, by the formula in ops/ops.h (attend)
// q [items, Dp], keys [pages][Dp, page] transposed, values [pages][page, Dp], all f32; out [items, Dp]
// Scores: lanes are keys, d in order. Softmax sums: lanes are keys, vectors in order, one tree. Outputs: lanes are d,
// keys in order. A tile (128 keys) starts afresh and is merged; items share loads, never sums.
// moves keys and values once per tile and block of items; 4 * items * keys * Dp flops
// reference: ops/reference.cpp attend_row    test: tests/ops/test_attend.cpp
#pragma once

#include "cpu/kernels.h"
#include "cpu/kernels/vector_math.h"
#include "ops/paged_kv.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// Softmax-weighted sum over some keys, relative to their largest score m; o follows in memory. l = 0: no keys yet.
struct Partial {
  float* ml;  // [2]
  float* o;   // [Dp]
};

template <typename S>
inline void copy_partial(const Partial& from, Partial& to, int64_t dp) {
  to.ml[0] = from.ml[0];
  to.ml[1] = from.ml[1];
  for (int64_t d = 0; d < dp; d += S::kLanes) S::store(to.o + d, S::load(from.o + d));
}

// a = merge(a, b)
template <typename S>
inline void merge_partial(Partial& a, const Partial& b, int64_t dp) {
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

// scores[i][0 … page_size) of kItems queries against one page.
template <typename S, int kItems>
inline void score_page(const float* const* q, const float* keys, int64_t page_size, int64_t dp, float scale,
                       float (*scores)[kTileKeys]) {
  constexpr int kVectors = S::kAttendVectors;
  for (int64_t j = 0; j < page_size; j += kVectors * S::kLanes) {
    typename S::F sums[kItems][kVectors];
    for (int i = 0; i < kItems; ++i)
      for (int v = 0; v < kVectors; ++v) sums[i][v] = S::zero();
    for (int64_t d = 0; d < dp; ++d) {
      typename S::F k[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) k[v] = S::load(keys + d * page_size + j + v * S::kLanes);
#pragma GCC unroll 4
      for (int i = 0; i < kItems; ++i) {
        const typename S::F x = S::set1(q[i][d]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[i][v] = S::fma(x, k[v], sums[i][v]);
      }
    }
    for (int i = 0; i < kItems; ++i)
      for (int v = 0; v < kVectors; ++v) S::store(scores[i] + j + v * S::kLanes, S::mul(sums[i][v], S::set1(scale)));
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

// o[i][d … d + kVectors lanes) (+)= sum_j p[i][j] values[j][d …] over num_keys keys of one page.
template <typename S, int kItems, int kVectors>
inline void weigh_values(const float* const* p, const float* values, int64_t num_keys, int64_t dp, bool fresh,
                         float* const* o) {
  typename S::F sums[kItems][kVectors];
  for (int i = 0; i < kItems; ++i)
    for (int v = 0; v < kVectors; ++v) sums[i][v] = fresh ? S::zero() : S::load(o[i] + v * S::kLanes);
  for (int64_t j = 0; j < num_keys; ++j) {
    typename S::F x[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) x[v] = S::load(values + j * dp + v * S::kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < kItems; ++i) {
      const typename S::F w = S::set1(p[i][j]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[i][v] = S::fma(w, x[v], sums[i][v]);
    }
  }
  for (int i = 0; i < kItems; ++i)
    for (int v = 0; v < kVectors; ++v) S::store(o[i] + v * S::kLanes, sums[i][v]);
}

template <typename S>
struct AttendState {
  const AttendTask& t;

  // Per item: the running group and the merged groups before it.
  Partial slot(int64_t item, int which) const {
    float* base = t.scratch + (item * 2 + which) * (t.head_dim_padded + 16);
    return {base, base + 16};
  }
};

// One tile for kItems items from `item` on.
template <typename S, int kItems>
inline void attend_tile(const AttendState<S>& state, int64_t item, int64_t tile) {
  const AttendTask& t = state.t;
  const int64_t dp = t.head_dim_padded, first_key = tile * kTileKeys;
  alignas(64) float scores[kItems][kTileKeys];
  alignas(64) float o[kItems][256];
  const float* q[kItems];
  const float* p[kItems];
  for (int i = 0; i < kItems; ++i) q[i] = t.q + (item + i) * dp;
  // Keys that the last (furthest) item sees; the others mask more.
  const int64_t seen = t.positions[item + kItems - 1] + 1 - first_key;
  const int64_t num_keys = seen < kTileKeys ? seen : kTileKeys;
  const int64_t pages_per_tile = kTileKeys / t.page_size;
  for (int64_t page = 0; page * t.page_size < num_keys; ++page)
    score_page<S, kItems>(q, t.k_pages[tile * pages_per_tile + page], t.page_size, dp, t.scale,
                          reinterpret_cast<float(*)[kTileKeys]>(&scores[0][page * t.page_size]));
  float ml[kItems][2];
  for (int i = 0; i < kItems; ++i) {
    for (int64_t j = (num_keys + t.page_size - 1) / t.page_size * t.page_size; j < kTileKeys; ++j) scores[i][j] = 0;
    softmax_tile<S>(scores[i], t.positions[item + i] + 1 - first_key, ml[i]);
  }
  for (int64_t page = 0; page * t.page_size < num_keys; ++page) {
    const float* values = t.v_pages[tile * pages_per_tile + page];
    const int64_t rest = num_keys - page * t.page_size, keys = rest < t.page_size ? rest : t.page_size;
    for (int i = 0; i < kItems; ++i) p[i] = &scores[i][page * t.page_size];
    for (int64_t d = 0; d < dp;) {
      float* out[kItems];
      for (int i = 0; i < kItems; ++i) out[i] = &o[i][d];
      if (dp - d >= S::kAttendVectors * S::kLanes) {
        weigh_values<S, kItems, S::kAttendVectors>(p, values + d, keys, dp, page == 0, out);
        d += S::kAttendVectors * S::kLanes;
      } else {
        weigh_values<S, kItems, 1>(p, values + d, keys, dp, page == 0, out);
        d += S::kLanes;
      }
    }
  }
  for (int i = 0; i < kItems; ++i) {
    if (t.positions[item + i] < first_key) continue;
    Partial group = state.slot(item + i, 0);
    merge_partial<S>(group, Partial{ml[i], o[i]}, dp);
  }
}

template <typename S>
void attend(const AttendTask& t) {
  const AttendState<S> state{t};
  const int64_t dp = t.head_dim_padded;
  for (int64_t i = 0; i < t.num_items; ++i) state.slot(i, 0).ml[1] = state.slot(i, 1).ml[1] = 0;
  const int64_t num_tiles = t.positions[t.num_items - 1] / kTileKeys + 1;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    if (tile > 0 && tile % kGroupTiles == 0) {
      for (int64_t i = 0; i < t.num_items; ++i) {
        Partial total = state.slot(i, 1), group = state.slot(i, 0);
        merge_partial<S>(total, group, dp);
        group.ml[1] = 0;
      }
    }
    int64_t i = 0;
    while (i < t.num_items && t.positions[i] < tile * kTileKeys) ++i;  // these see nothing of the tile
    for (; i + S::kAttendItems <= t.num_items; i += S::kAttendItems) attend_tile<S, S::kAttendItems>(state, i, tile);
    for (; i < t.num_items; ++i) attend_tile<S, 1>(state, i, tile);
  }
  for (int64_t i = 0; i < t.num_items; ++i) {
    Partial total = state.slot(i, 1), group = state.slot(i, 0);
    merge_partial<S>(total, group, dp);
    const typename S::F l = S::set1(total.ml[1]);
    for (int64_t d = 0; d < dp; d += S::kLanes) S::store(t.out + i * dp + d, S::div(S::load(total.o + d), l));
  }
}

}  // namespace
}  // namespace qwill::cpu
