// Columns of a row of logits in shared memory, with the row's penalties and bias, and a block's search among them.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/kernels/philox.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/sampling.h"

namespace qwill::cuda {

// Below this temperature scores would become infinite, and equal.
__device__ __forceinline__ double temperature_of(const SampleSettings& row) { return fmax(row.temperature, 1e-30); }

__device__ __forceinline__ bool is_filtered(const SampleSettings& row, int32_t num_drawable) {
  return row.temperature > 0 && ((row.top_k > 0 && row.top_k < num_drawable) || row.top_p < 1 || row.min_p > 0);
}

__device__ inline float adjusted(float logit, const TokenAdjustment& a, const SampleSettings& row) {
  if (row.repetition_penalty != 1 && a.seen)
    logit = logit < 0 ? __fmul_rn(logit, row.repetition_penalty) : __fdiv_rn(logit, row.repetition_penalty);
  if ((row.presence_penalty != 0 || row.frequency_penalty != 0) && a.output_count > 0)
    logit = __fsub_rn(
        logit, static_cast<float>(__dadd_rn(row.presence_penalty, __dmul_rn(row.frequency_penalty, a.output_count))));
  return __fadd_rn(logit, a.bias);
}

// The first `count` of four; -infinity for the others.
__device__ __forceinline__ float4 first_of(float4 v, int32_t count) {
  if (count < 1) v.x = -INFINITY;
  if (count < 2) v.y = -INFINITY;
  if (count < 3) v.z = -INFINITY;
  if (count < 4) v.w = -INFINITY;
  return v;
}

// Columns first … first + count - 1 of a row in shared memory; none if count is not above 0.
struct Columns {
  float* values;
  int32_t first, count;

  __device__ int32_t num_groups() const { return (count + 3) / 4; }
  // Four at a time; -infinity beyond the end.
  __device__ float4 four(int32_t group) const {
    const int32_t left = count - 4 * group;
    return first_of(left > 0 ? reinterpret_cast<const float4*>(values)[group] : float4{}, left);
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

// A row's penalties and bias, applied to columns that come in ascending order. `last_id` is one more token of the
// output, which the list does not count; -1: there is none.
class Adjuster {
 public:
  __device__ Adjuster(const SampleSettings& row, const TokenAdjustment* adjustments, int32_t last_id,
                      int32_t first_column)
      : row_(row), list_(adjustments + row.first_adjustment), last_id_(last_id), next_(find(0, first_column)) {}

  // The whole block, after the columns have come.
  __device__ void apply(const Columns& columns) {
    const int32_t begin = next_, end = columns.first + columns.count;
    next_ = find(begin, end);
    const bool has_last = last_id_ >= columns.first && last_id_ < end;
    if (begin == next_ && !has_last) return;
    for (int32_t i = begin + static_cast<int32_t>(threadIdx.x); i < next_; i += static_cast<int32_t>(blockDim.x))
      if (list_[i].id != last_id_) adjust(columns, list_[i]);
    if (has_last && threadIdx.x == 0) {
      const int32_t i = find(begin, last_id_);
      TokenAdjustment last = {last_id_, 0, 0, 0};
      if (i < next_ && list_[i].id == last_id_) last = list_[i];
      ++last.output_count;
      last.seen = 1;
      adjust(columns, last);
    }
    __syncthreads();
  }

 private:
  __device__ void adjust(const Columns& columns, const TokenAdjustment& a) const {
    float& value = columns.values[a.id - columns.first];
    value = adjusted(value, a, row_);
  }
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
  int32_t last_id_, next_;
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
__device__ inline Found finish_search(GumbelSearch& search, float* bars) {
  bars[threadIdx.x / 32] = search.bar();
  __syncthreads();
  float bar = bars[0];
  for (uint32_t warp = 1; warp < blockDim.x / 32; ++warp) bar = fmaxf(bar, bars[warp]);
  return search.finish(bar);
}

// Tokens first … first + 3, which come behind `id`.
__device__ __forceinline__ void raise(float& highest, int32_t& id, float4 v, int32_t first) {
  if (v.x > highest) highest = v.x, id = first;
  if (v.y > highest) highest = v.y, id = first + 1;
  if (v.z > highest) highest = v.z, id = first + 2;
  if (v.w > highest) highest = v.w, id = first + 3;
}

// This thread's best token of these columns and those before, none of which was judged by noise.
__device__ inline void search_greedy(Found& found, const Columns& columns) {
  float highest = static_cast<float>(found.value);
  int32_t id = found.id;
  for (int32_t group = threadIdx.x; group < columns.num_groups(); group += blockDim.x)
    raise(highest, id, columns.four(group), columns.first + 4 * group);
  found = {highest, id};
}

// The best that any thread of the block found, in warp 0.
__device__ inline Found best_of_block(Found found, Found* shared) {
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

}  // namespace qwill::cuda
