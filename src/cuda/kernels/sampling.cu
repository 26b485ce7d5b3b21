// sample: ids[r] = the draw of row r (ops/sampling.h): adjusted logits -> greedy, or temperature and Gumbel-max over
// all tokens, or over those that top-k, top-p and min-p leave. logits [R, ld] f32; settings [R]; ids [R] int32. Two
// launches: `search_slices` finds the best token of each slice of a greedy or plain row, `finish_rows` the best of the
// slices, and does rows with a filter from the start. Moves 4 R V bytes. Greedy rows and rows with a clear favourite
// are memory-bound; where every token needs its noise (flat logits), the generator takes about twice as long as
// reading. A filtered row is bound by latency and by adding to bins. reference: ops/sampling.cpp sample_row. Same
// token, except where double rounding decides: the weights of top-p are summed as integers in units of 2^-46 of the
// best token's (order-free, so deterministic), and exp and log differ from the host's by an ulp. bench:
// bench/cuda/bench_sampling.cu
#include <cooperative_groups.h>

#include <algorithm>
#include <cmath>

#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/philox.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/sampling.h"

namespace qwill::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kSearchThreads = 256;
constexpr int kMinSlice = 4 * kSearchThreads;  // columns that its threads take at once
constexpr int kPiece = 2 * kMinSlice;
constexpr int kPieces = 4;  // ring of them in shared memory
constexpr int kRanks = 8;   // blocks of a cluster, which share the columns of a filtered row
constexpr int kFinishThreads = 512;
constexpr int kBins = 2048;
constexpr int kSegment = kBins / kRanks;
constexpr int kIdBits = 18;
constexpr int32_t kLastId = (1 << kIdBits) - 1;
static_assert(kMaxSampledColumns <= int64_t{1} << kIdBits);

// Below this temperature scores would become infinite, and equal.
__device__ __forceinline__ double temperature_of(const SampleSettings& row) { return fmax(row.temperature, 1e-30); }

__device__ __forceinline__ bool is_filtered(const SampleSettings& row, int32_t num_drawable) {
  return row.temperature > 0 && ((row.top_k > 0 && row.top_k < num_drawable) || row.top_p < 1 || row.min_p > 0);
}

__device__ float adjusted(float logit, const TokenAdjustment& a, const SampleSettings& row) {
  if (row.repetition_penalty != 1 && a.seen)
    logit = logit < 0 ? __fmul_rn(logit, row.repetition_penalty) : __fdiv_rn(logit, row.repetition_penalty);
  if ((row.presence_penalty != 0 || row.frequency_penalty != 0) && a.output_count > 0)
    logit = __fsub_rn(
        logit, static_cast<float>(__dadd_rn(row.presence_penalty, __dmul_rn(row.frequency_penalty, a.output_count))));
  return __fadd_rn(logit, a.bias);
}

// Columns first … first + count - 1 of a row in shared memory; none if count is not above 0.
struct Columns {
  float* values;
  int32_t first, count;

  __device__ int32_t num_groups() const { return (count + 3) / 4; }
  // Four at a time; -infinity beyond the end.
  __device__ float4 four(int32_t group) const {
    if (4 * group >= count) return {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    float4 v = reinterpret_cast<const float4*>(values)[group];
    if (4 * group + 1 >= count) v.y = -INFINITY;
    if (4 * group + 2 >= count) v.z = -INFINITY;
    if (4 * group + 3 >= count) v.w = -INFINITY;
    return v;
  }

  // One thread; `barrier` completes a phase when they have come.
  __device__ void start_copy(const float* logits, uint64_t* barrier) const {
    const uint32_t bytes = static_cast<uint32_t>(num_groups()) * 16;
    barrier_expect_bytes(shared_address(barrier), bytes);
    copy_bulk(shared_address(values), logits + first, bytes, shared_address(barrier));
  }
};

// One thread, before the block is synchronised.
__device__ __forceinline__ void init_barrier(uint64_t* barrier) {
  barrier_init(shared_address(barrier), 1);
  barrier_init_fence();
}

// A row's penalties and bias, applied to columns that come in ascending order.
class Adjuster {
 public:
  __device__ Adjuster(const SampleSettings& row, const TokenAdjustment* adjustments, int32_t first_column)
      : row_(row), list_(adjustments + row.first_adjustment), next_(find(0, first_column)) {}

  // The whole block, after the columns have come.
  __device__ void apply(const Columns& columns) {
    const int32_t begin = next_;
    next_ = find(begin, columns.first + columns.count);
    if (begin == next_) return;
    for (int32_t i = begin + static_cast<int32_t>(threadIdx.x); i < next_; i += static_cast<int32_t>(blockDim.x)) {
      float& value = columns.values[list_[i].id - columns.first];
      value = adjusted(value, list_[i], row_);
    }
    __syncthreads();
  }

 private:
  // Index of the first adjustment, from `low` on, whose id is not below `id`.
  __device__ int32_t find(int32_t low, int32_t id) const {
    int32_t high = row_.num_adjustments;
    while (low < high) {
      const int32_t middle = (low + high) / 2;
      if (list_[middle].id < id)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  const SampleSettings& row_;
  const TokenAdjustment* list_;
  int32_t next_;
};

// Shows the columns to the search; `keep(value, id)` is false for tokens that must not be drawn.
template <typename Keep>
__device__ void search_noisy(GumbelSearch& search, const Columns& columns, Keep keep) {
  const int32_t lane = threadIdx.x % 32;
  for (int32_t base = static_cast<int32_t>(threadIdx.x) - lane; base < columns.num_groups(); base += blockDim.x) {
    const int32_t id = columns.first + 4 * (base + lane);
    float4 v = columns.four(base + lane);
    if (!keep(v.x, id)) v.x = -INFINITY;
    if (!keep(v.y, id + 1)) v.y = -INFINITY;
    if (!keep(v.z, id + 2)) v.z = -INFINITY;
    if (!keep(v.w, id + 3)) v.w = -INFINITY;
    search.visit(static_cast<uint32_t>(id) / 4, v);
  }
}

// This thread's best token, if it can be the block's; `bars` has a value per warp.
__device__ Found finish_search(GumbelSearch& search, float* bars) {
  bars[threadIdx.x / 32] = search.bar();
  __syncthreads();
  float bar = bars[0];
  for (uint32_t warp = 1; warp < blockDim.x / 32; ++warp) bar = fmaxf(bar, bars[warp]);
  return search.finish(bar);
}

// This thread's best token of these columns and those before, none of which was judged by noise.
__device__ void search_greedy(Found& found, const Columns& columns) {
  float highest = static_cast<float>(found.value);
  int32_t id = found.id;
  for (int32_t group = threadIdx.x; group < columns.num_groups(); group += blockDim.x) {
    const float4 v = columns.four(group);
    const int32_t first = columns.first + 4 * group;
    if (v.x > highest) highest = v.x, id = first;
    if (v.y > highest) highest = v.y, id = first + 1;
    if (v.z > highest) highest = v.z, id = first + 2;
    if (v.w > highest) highest = v.w, id = first + 3;
  }
  found = {highest, id};
}

// The best that any thread of the block found, in warp 0.
__device__ Found best_of_block(Found found, Found* shared) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  found = best_of_warp(found);
  if (lane == 0) shared[warp] = found;
  __syncthreads();
  if (warp == 0)
    found = best_of_warp(lane < static_cast<int>(blockDim.x) / 32 ? shared[lane] : Found{kMinusInfinity, 0});
  return found;
}

__device__ __forceinline__ GumbelRow gumbel_row(const SampleSettings& row) {
  return {row.seed, row.position, row.choice, temperature_of(row)};
}

// One block a slice of a row's columns, for rows without a filter: found[row][slice]. The columns come by a ring of
// pieces.
__global__ void __launch_bounds__(kSearchThreads, 4)
    search_slices(const float* logits, int64_t ld, int32_t num_drawable, int32_t slice_columns,
                  const SampleSettings* settings, const TokenAdjustment* adjustments, Found* found) {
  __shared__ __align__(128) float values[kPieces * kPiece];
  __shared__ uint64_t barriers[kPieces];
  __shared__ Found warp_best[32];
  __shared__ float bars[32];
  __shared__ SampleSettings row;
  const int32_t first = static_cast<int32_t>(blockIdx.x) * slice_columns;
  const int32_t count = min(slice_columns, num_drawable - first), num_pieces = (count + kPiece - 1) / kPiece;
  const auto piece = [&](int32_t i) {
    return Columns{values + i % kPieces * kPiece, first + i * kPiece, min(kPiece, count - i * kPiece)};
  };
  logits += blockIdx.y * ld;
  let_next_kernel_start();
  if (threadIdx.x < kPieces) init_barrier(&barriers[threadIdx.x]);
  wait_for_previous_kernel();
  if (threadIdx.x == 0) row = settings[blockIdx.y];
  __syncthreads();
  if (is_filtered(row, num_drawable)) return;
  if (threadIdx.x == 0)
    for (int32_t i = 0; i < min(kPieces, num_pieces); ++i) piece(i).start_copy(logits, &barriers[i]);

  Adjuster adjuster(row, adjustments, first);
  GumbelSearch search(gumbel_row(row));
  Found best = {kMinusInfinity, 0};
  const bool noisy = row.temperature > 0;
  for (int32_t i = 0; i < num_pieces; ++i) {
    const Columns columns = piece(i);
    barrier_wait(shared_address(&barriers[i % kPieces]), i / kPieces & 1);
    adjuster.apply(columns);
    if (noisy)
      search_noisy(search, columns, [](float, int32_t) { return true; });
    else
      search_greedy(best, columns);
    if (i + kPieces >= num_pieces) continue;
    fence_async_proxy();
    __syncthreads();
    if (threadIdx.x == 0) piece(i + kPieces).start_copy(logits, &barriers[i % kPieces]);
  }
  if (noisy) best = finish_search(search, bars);
  best = best_of_block(best, warp_best);
  if (threadIdx.x == 0) found[blockIdx.y * gridDim.x + blockIdx.x] = best;
}

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

// Rows without a filter: one warp each, over the best of the slices. Rows with one: a cluster each, which keeps the
// row's adjusted logits in shared memory and reads global memory once.
__global__ void __cluster_dims__(kRanks, 1, 1) __launch_bounds__(kFinishThreads)
    finish_rows(int32_t* ids, const float* logits, int64_t ld, int32_t num_rows, int32_t num_drawable,
                int32_t rank_columns, const SampleSettings* settings, const TokenAdjustment* adjustments,
                const Found* found, int32_t num_slices) {
  extern __shared__ __align__(128) float values[];
  __shared__ uint64_t barrier;
  __shared__ FilterShared shared;
  __shared__ SampleSettings row;
  let_next_kernel_start();
  if (threadIdx.x == 0) init_barrier(&barrier);
  wait_for_previous_kernel();
  const int32_t lane = threadIdx.x % 32;

  const int32_t num_warps = gridDim.x * (kFinishThreads / 32);
  for (int32_t r = (blockIdx.x * kFinishThreads + threadIdx.x) / 32; r < num_rows; r += num_warps) {
    if (is_filtered(settings[r], num_drawable)) continue;
    Found best = {kMinusInfinity, 0};
    for (int32_t i = lane; i < num_slices; i += 32)
      best = better(found[static_cast<int64_t>(r) * num_slices + i], best);
    best = best_of_warp(best);
    if (lane == 0) ids[r] = best.id;
  }

  // Filtered rows are dealt to the clusters in turn.
  const int32_t rank = blockIdx.x % kRanks, num_clusters = gridDim.x / kRanks;
  const int32_t first = rank * rank_columns;
  const Columns columns = {values, first, min(rank_columns, num_drawable - first)};
  int32_t turn = blockIdx.x / kRanks;
  uint32_t parity = 0;
  for (int32_t base = 0; base < num_rows; base += 32) {
    uint32_t filtered = __ballot_sync(
        ~0u, base + lane < num_rows && is_filtered(settings[min(base + lane, num_rows - 1)], num_drawable));
    for (; filtered; filtered &= filtered - 1) {
      if (turn-- > 0) continue;
      turn = num_clusters - 1;
      const int32_t r = base + __ffs(filtered) - 1;
      if (threadIdx.x == 0) {
        row = settings[r];
        if (columns.count > 0) columns.start_copy(logits + r * ld, &barrier);
      }
      __syncthreads();
      if (columns.count > 0) {
        Adjuster adjuster(row, adjustments, first);
        barrier_wait(shared_address(&barrier), parity);
        parity ^= 1;
        adjuster.apply(columns);
      }
      const int32_t id = FilteredRow(shared, columns, row).draw();
      if (rank == 0 && threadIdx.x == 0) ids[r] = id;
      fence_async_proxy();
      __syncthreads();
    }
  }
}

// Columns of a block of search_slices: so that all blocks run at once, four on each of an H100's SMs; with many rows at
// least four blocks a row, since whole rows would leave SMs idle at the end.
int32_t slice_columns(int64_t num_rows, int64_t num_drawable) {
  const int64_t slices = std::max<int64_t>(4 * 132 / num_rows, 4), columns = (num_drawable + slices - 1) / slices;
  return static_cast<int32_t>((columns + kMinSlice - 1) / kMinSlice * kMinSlice);
}

// How many clusters of finish_rows run at once.
cudaError_t max_clusters(size_t shared_bytes, int& clusters) {
  cudaLaunchConfig_t config = {};
  config.gridDim = kRanks;
  config.blockDim = kFinishThreads;
  config.dynamicSmemBytes = shared_bytes;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kRanks, 1, 1};
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaOccupancyMaxActiveClusters(&clusters, finish_rows, &config);
}

}  // namespace

size_t sample_workspace_bytes(int64_t num_rows, int64_t num_drawable) {
  return static_cast<size_t>(num_rows * ((num_drawable + kMinSlice - 1) / kMinSlice)) * sizeof(Found);
}

cudaError_t sample(int32_t* ids, const float* logits, int64_t ld, int64_t num_rows, int64_t num_drawable,
                   const SampleSettings* settings, const TokenAdjustment* adjustments, void* workspace,
                   cudaStream_t stream) {
  if (ld % 4 != 0 || num_drawable < 1 || num_drawable > std::min(ld, kMaxSampledColumns)) return cudaErrorInvalidValue;
  if (num_rows <= 0) return cudaSuccess;
  const int32_t columns = slice_columns(num_rows, num_drawable);
  const int32_t slices = static_cast<int32_t>((num_drawable + columns - 1) / columns);
  const int32_t rank_columns = static_cast<int32_t>((num_drawable + 4 * kRanks - 1) / (4 * kRanks) * 4);
  const size_t rank_bytes = static_cast<size_t>(rank_columns) * sizeof(float);
  Found* const found = static_cast<Found*>(workspace);
  if (const cudaError_t error = allow_shared(finish_rows, kMaxSampledColumns / kRanks * sizeof(float))) return error;
  if (const cudaError_t error = launch(search_slices, dim3(slices, num_rows), kSearchThreads, 0, stream, logits, ld,
                                       num_drawable, columns, settings, adjustments, found))
    return error;
  int clusters = 0;
  if (const cudaError_t error = max_clusters(rank_bytes, clusters)) return error;
  const auto blocks = static_cast<uint32_t>(std::clamp<int64_t>(num_rows, 1, std::max(clusters, 1)) * kRanks);
  return launch(finish_rows, blocks, kFinishThreads, rank_bytes, stream, ids, logits, ld, num_rows, num_drawable,
                rank_columns, settings, adjustments, found, slices);
}

}  // namespace qwill::cuda
