// Drawing from a row with top-k, top-p or min-p: a cluster of blocks shares the row's columns and reads them from its
// shared memory as often as it needs.
//
// Every filter keeps the tokens up to some place in the order best first, so it is a place; the draw is Gumbel-max over
// the tokens up to the first of those places.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernels/philox.cuh"
#include "cuda/kernels/sampling.h"
#include "cuda/kernels/sampling_columns.cuh"

namespace qwill::cuda {

namespace cg = cooperative_groups;

constexpr int kRanks = 8;  // blocks of a cluster
constexpr int kFinishThreads = 512;
constexpr int kBins = 2048;
constexpr int kSegment = kBins / kRanks;
constexpr int kIdBits = 18;
constexpr int32_t kLastId = (1 << kIdBits) - 1;
static_assert(kMaxSampledColumns <= int64_t{1} << kIdBits);

// A token's place in the order best first: by descending logit, then ascending id. (Dividing by the temperature keeps
// the order of logits.)
__device__ __forceinline__ uint64_t place_of(float logit, int32_t id) {
  return uint64_t{~float_key(logit)} << kIdBits | static_cast<uint32_t>(id);
}

// Bins of equal width from the highest logit down, the last without end; bins of higher logits come first, whatever the
// rounding, since each step of `bin` is monotonic.
struct LinearBins {
  float highest, scale;
  __device__ uint32_t bin(float logit) const {
    return min(__float2uint_rz(__fmul_rn(__fsub_rn(highest, logit), scale)), uint32_t{kBins - 1});
  }
  // The first place, between two, whose logit lies in this bin or behind it; `last` + 1 if none does.
  __device__ uint64_t first_place(uint32_t wanted, float lowest) const {
    uint32_t low = ~float_key(highest), high = ~float_key(lowest) + 1;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (bin(float_of_key(~middle)) < wanted)
        low = middle + 1;
      else
        high = middle;
    }
    return uint64_t{low} << kIdBits;
  }
};

// Shared memory of a block that helps with a filtered row; other blocks of the cluster read it.
struct FilterShared {
  uint32_t count[kBins];
  uint32_t weight[3][kBins];  // sums of the weights' bits 0 … 15, 16 … 31, 32 …
  uint64_t mass[kSegment];    // of bins rank * kSegment …, over the cluster: inclusive prefix sums
  uint32_t segment_count[kSegment];
  uint64_t warp_mass[kSegment / 32];
  Found best, warp_best[32];
  float bars[32];
  // of one step of a cut
  uint64_t before, bounds[2];
  uint32_t bin, bin_count;
};

// The cluster's work on one filtered row.
class FilteredRow {
 public:
  __device__ FilteredRow(FilterShared& shared, const Columns& columns, const SampleSettings& row)
      : cluster_(cg::this_cluster()),
        shared_(shared),
        columns_(columns),
        row_(row),
        inverse_temperature_(1 / temperature_of(row)) {}

  // The drawn token, in thread 0 of rank 0.
  __device__ int32_t draw() {
    find_extremes();
    uint64_t cut = place_of(lowest_, kLastId);
    if (num_candidates_ > 0) {
      if (row_.top_k > 0 && static_cast<uint32_t>(row_.top_k) < num_candidates_) cut = find_cut<false>(cut);
      if (row_.top_p < 1) cut = find_cut<true>(cut);
      if (row_.min_p > 0) cut = min(cut, min_p_cut());
    }
    GumbelSearch search(gumbel_row(row_));
    search_noisy(search, columns_, [&](float logit, int32_t id) { return place_of(logit, id) <= cut; });
    const Found best = best_of_block(finish_search(search, shared_.bars), shared_.warp_best);
    if (threadIdx.x == 0) shared_.best = best;
    cluster_.sync();
    Found found = {kMinusInfinity, 0};
    if (cluster_.block_rank() == 0 && threadIdx.x == 0)
      for (int rank = 0; rank < kRanks; ++rank) found = better(remote(rank).best, found);
    cluster_.sync();
    return found.id;
  }

 private:
  __device__ const FilterShared& remote(int rank) const { return *cluster_.map_shared_rank(&shared_, rank); }

  // Highest and lowest logit above -infinity, and the number of them, of the whole row.
  __device__ void find_extremes() {
    uint32_t high = 0, low = ~0u, count = 0;
    for (int32_t group = threadIdx.x; group < columns_.num_groups(); group += kFinishThreads) {
      const float4 v = columns_.four(group);
      for (const float logit : {v.x, v.y, v.z, v.w}) {
        if (!(logit > -INFINITY)) continue;
        high = max(high, float_key(logit));
        low = min(low, float_key(logit));
        ++count;
      }
    }
    uint32_t* const sums = shared_.count;  // borrowed
    if (threadIdx.x == 0) sums[0] = 0, sums[1] = ~0u, sums[2] = 0;
    __syncthreads();
    high = __reduce_max_sync(~0u, high);
    low = __reduce_min_sync(~0u, low);
    count = __reduce_add_sync(~0u, count);
    if (threadIdx.x % 32 == 0) {
      atomicMax(&sums[0], high);
      atomicMin(&sums[1], low);
      atomicAdd(&sums[2], count);
    }
    cluster_.sync();
    high = 0, low = ~0u, count = 0;
    for (int rank = 0; rank < kRanks; ++rank) {
      high = max(high, remote(rank).count[0]);
      low = min(low, remote(rank).count[1]);
      count += remote(rank).count[2];
    }
    cluster_.sync();
    highest_ = float_of_key(high);
    lowest_ = float_of_key(low);
    num_candidates_ = count;
  }

  // exp(score - best score) in units of 2^-46, without branches: 2^n times the series of e^r, |r| <= log(2) / 2, whose
  // first term left out is below 1e-14.
  __device__ uint64_t weight(float logit) const {
    constexpr double kRound = 0x1.8p52;  // adding it leaves an integer in the low bits
    constexpr double kInverseFactorials[] = {1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                                             1.0 / 5040,     1.0 / 720,     1.0 / 120,    1.0 / 24,
                                             1.0 / 6,        1.0 / 2,       1.0,          1.0};
    double x = fmax((static_cast<double>(logit) - static_cast<double>(highest_)) * inverse_temperature_, -40.0);
    if (logit == highest_) x = 0;
    const double rounded = __fma_rn(x, 0x1.71547652b82fep0, kRound), n = rounded - kRound;
    const double r = __fma_rn(n, -0x1.abc9e3b39803fp-56, __fma_rn(n, -0x1.62e42fefa39efp-1, x));
    double e = 0;
#pragma unroll
    for (const double coefficient : kInverseFactorials) e = __fma_rn(e, r, coefficient);
    const double scale = __hiloint2double((__double2loint(rounded) + 46 + 1023) << 20, 0);
    return __double_as_longlong(__fma_rn(e, scale, 0x1p52)) & ((uint64_t{1} << 52) - 1);
  }

  // The last place of the lowest logit whose weight reaches min_p. Each warp finds it by itself, its lanes taking the
  // ends of 32 parts of what is left.
  __device__ uint64_t min_p_cut() const {
    const double temperature = temperature_of(row_), highest = static_cast<double>(highest_) / temperature;
    uint32_t below = float_key(-INFINITY), reaches = float_key(highest_);
    while (reaches - below > 1) {
      const uint32_t key = min(below + (threadIdx.x % 32 + 1) * ((reaches - below + 31) / 32), reaches);
      const bool stays =
          key == reaches || exp(static_cast<double>(float_of_key(key)) / temperature - highest) >= row_.min_p;
      const int first = __ffs(__ballot_sync(~0u, stays)) - 1;
      if (first > 0) below = __shfl_sync(~0u, key, first - 1);
      reaches = __shfl_sync(~0u, key, first);
    }
    return place_of(float_of_key(reaches), kLastId);
  }

  // The place of the last token that stays: the best tokens stay until their masses reach a share (kByWeight: top_p of
  // all weights, else top_k tokens). Only places up to `limit` count.
  //
  // Each step sorts the tokens between two places into bins and goes on with the bin in which the target is reached,
  // until that holds one token. At first bins are equal in logits, so that real logits spread over them (adding to few
  // would be slow); then equal in places, which ends also where logits are equal.
  template <bool kByWeight>
  __device__ uint64_t find_cut(uint64_t limit) {
    const LinearBins linear = {highest_, kBins / fmaxf(fminf(highest_ - lowest_, 64.0f), 1e-30f)};
    uint64_t low = 0, high = limit, before = 0, target = kByWeight ? 0 : static_cast<uint64_t>(row_.top_k);
    for (bool first = true;; first = false) {
      const int shift = max(0, 64 - __clzll(high - low) - 11);
      tally<kByWeight>(low, high, [&](float logit, uint64_t place) {
        return first ? linear.bin(logit) : static_cast<uint32_t>((place - low) >> shift);
      });
      if (kByWeight && first) {
        uint64_t total = 0;
        for (int rank = 0; rank < kRanks; ++rank) total += remote(rank).mass[kSegment - 1];
        const double share = ceil(row_.top_p * static_cast<double>(total));
        target = share < 1 ? 1 : min(static_cast<uint64_t>(share), total);
      }
      choose_bin(before, target);
      before = shared_.before;
      if (first) {
        if (threadIdx.x < 2) shared_.bounds[threadIdx.x] = linear.first_place(shared_.bin + threadIdx.x, lowest_);
        __syncthreads();
        low = shared_.bounds[0];
        high = min(high, shared_.bin + 1 < kBins ? shared_.bounds[1] - 1 : high);
      } else {
        low += static_cast<uint64_t>(shared_.bin) << shift;
        high = min(high, low + (uint64_t{1} << shift) - 1);
      }
      if (low == high || shared_.bin_count == 1) return high;
    }
  }

  // Counts and weights of the tokens between two places by bin, over the cluster: each block ends with the sums of its
  // segment of the bins.
  template <bool kByWeight, typename Bin>
  __device__ void tally(uint64_t low, uint64_t high, Bin bin_of) {
    constexpr int kArrays = kByWeight ? 4 : 1;
    for (int i = threadIdx.x; i < kArrays * kBins; i += kFinishThreads) shared_.count[i] = 0;  // weight follows count
    __syncthreads();
    for (int32_t group = threadIdx.x; group < columns_.num_groups(); group += kFinishThreads) {
      const float4 v = columns_.four(group);
      const float logits[4] = {v.x, v.y, v.z, v.w};
      uint64_t places[4], weights[4];
      uint32_t inside = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        places[i] = place_of(logits[i], columns_.first + 4 * group + i);
        inside |= static_cast<uint32_t>(logits[i] > -INFINITY && places[i] >= low && places[i] <= high) << i;
      }
      if (!inside) continue;
      if constexpr (kByWeight)
#pragma unroll
        for (int i = 0; i < 4; ++i) weights[i] = weight(logits[i]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (!(inside >> i & 1)) continue;
        const uint32_t bin = bin_of(logits[i], places[i]);
        atomicAdd(&shared_.count[bin], 1);
        if constexpr (kByWeight)
#pragma unroll
          for (int part = 0; part < 3; ++part) {
            const uint32_t bits = part < 2 ? weights[i] >> 16 * part & 0xffff : weights[i] >> 32;
            if (bits) atomicAdd(&shared_.weight[part][bin], bits);
          }
      }
    }
    cluster_.sync();
    const uint32_t t = threadIdx.x, lane = t % 32;
    uint64_t mass = 0;
    if (t < kSegment) {
      const uint32_t bin = cluster_.block_rank() * kSegment + t;
      uint32_t count = 0;
#pragma unroll
      for (int rank = 0; rank < kRanks; ++rank) {
        const FilterShared& other = remote(rank);
        count += other.count[bin];
        if constexpr (kByWeight)
          for (int part = 0; part < 3; ++part) mass += uint64_t{other.weight[part][bin]} << 16 * part;
      }
      shared_.segment_count[t] = count;
      if constexpr (!kByWeight) mass = count;
      for (int offset = 1; offset < 32; offset *= 2) {
        const uint64_t left = __shfl_up_sync(~0u, mass, offset);
        if (lane >= static_cast<uint32_t>(offset)) mass += left;
      }
      if (lane == 31) shared_.warp_mass[t / 32] = mass;
    }
    __syncthreads();
    if (t < kSegment) {
      for (uint32_t warp = 0; warp < t / 32; ++warp) mass += shared_.warp_mass[warp];
      shared_.mass[t] = mass;
    }
    cluster_.sync();
  }

  // The bin in which the sum of masses, `before` included, reaches the target: to shared_.bin, with its number of
  // tokens and what stands before it.
  __device__ void choose_bin(uint64_t before, uint64_t target) {
    int rank = 0;
    while (rank + 1 < kRanks && before + remote(rank).mass[kSegment - 1] < target)
      before += remote(rank++).mass[kSegment - 1];
    const uint32_t t = threadIdx.x;
    if (t < kSegment) {
      const FilterShared& other = remote(rank);
      const uint64_t ahead = before + (t > 0 ? other.mass[t - 1] : 0);
      if (ahead < target && before + other.mass[t] >= target) {
        shared_.bin = rank * kSegment + t;
        shared_.bin_count = other.segment_count[t];
        shared_.before = ahead;
      }
    }
    __syncthreads();
  }

  cg::cluster_group cluster_;
  FilterShared& shared_;
  const Columns columns_;
  const SampleSettings& row_;
  double inverse_temperature_;
  float highest_ = 0, lowest_ = 0;
  uint32_t num_candidates_ = 0;
};

}  // namespace qwill::cuda
