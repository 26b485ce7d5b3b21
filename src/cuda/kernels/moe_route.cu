// route: which experts each token goes to, and the rows sorted by (expert, token) with their tiles.
// logits [T, E] f32 -> ExpertPlan (moe.h). Integers apart from the softmax; a warp a token, whose sums are in lane and
// butterfly order: probabilities within an ulp or two of the reference, whose sum is sequential. Latency-bound: moves
// 4 T E bytes and 16 P.
//
// reference: ops/reference.cpp route    bench: bench/cuda/bench_sampling.cu
//
// Tokens are taken in chunks of 32, so that the tokens of a chunk that chose an expert are one bit mask: its population
// is the expert's count, the bits below a token its place among them.
#include <algorithm>

#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/moe.h"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/warp.cuh"

namespace qwill::cuda {
namespace {

constexpr int kChunk = 32;
constexpr int kMaxThreads = 32 * kChunk;  // a warp a token; at least a thread an expert
static_assert(kMaxExperts <= kMaxThreads);

struct Routing {
  const float* logits;
  int32_t num_tokens, num_experts, k;
  bool norm_topk_prob;
  int32_t tile_rows;

  __host__ __device__ int32_t num_chunks() const { return (num_tokens + kChunk - 1) / kChunk; }
};

// A chunk's choices.
struct Chunk {
  int32_t first, num_pairs;
  int32_t expert[kChunk * kMaxExpertsPerToken];  // of its pairs
  uint32_t tokens_of[kMaxExperts];               // bit per token
};

// The block starts a chunk; no thread may go on before the block is synchronised.
__device__ void start_chunk(const Routing& r, Chunk& chunk, int32_t index) {
  if (threadIdx.x == 0) {
    chunk.first = index * kChunk;
    chunk.num_pairs = min(kChunk, r.num_tokens - index * kChunk) * r.k;
  }
  if (static_cast<int32_t>(threadIdx.x) < r.num_experts) chunk.tokens_of[threadIdx.x] = 0;
}

// One warp: the experts and weights of a token of the chunk; 32 kSlots experts at most.
template <int kSlots>
__device__ void route_token(const Routing& r, const ExpertPlan& plan, Chunk& chunk, int32_t token_in_chunk) {
  const int32_t token = chunk.first + token_in_chunk;
  const int32_t lane = threadIdx.x % 32;
  const float* logits = r.logits + static_cast<int64_t>(token) * r.num_experts;
  float p[kSlots];  // of expert 32 slot + lane; -1: none
  float highest = -INFINITY;
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    p[slot] = 32 * slot + lane < r.num_experts ? logits[32 * slot + lane] : -INFINITY;
    highest = fmaxf(highest, p[slot]);
  }
  for (int offset = 16; offset > 0; offset /= 2) highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, offset));
  float sum = 0;
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    if (32 * slot >= r.num_experts) continue;
    const float e = expf(__fsub_rn(p[slot], highest));
    p[slot] = e >= 0 ? e : 0;  // NaN logits must still give experts
    sum = __fadd_rn(sum, p[slot]);
  }
  sum = warp_sum(sum);

  constexpr int32_t kNone = kMaxExperts;
  uint32_t chosen = 0;  // bit per slot
  for (int32_t j = 0; j < r.k; ++j) {
    // Probabilities are at least 0, so that their bits order as integers.
    int32_t best = -1, best_id = kNone;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      const int32_t key = __float_as_int(p[slot]);
      if (32 * slot + lane < r.num_experts && !(chosen >> slot & 1) && key > best)
        best = key, best_id = 32 * slot + lane;
    }
    const int32_t winner = __reduce_min_sync(~0u, __reduce_max_sync(~0u, best) == best ? best_id : kNone);
    if (winner % 32 == lane) chosen |= 1u << winner / 32;
  }

  if (r.norm_topk_prob) {
    sum = 0;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      for (uint32_t left = __ballot_sync(~0u, chosen >> slot & 1); left; left &= left - 1)
        sum = __fadd_rn(sum, __shfl_sync(~0u, p[slot], __ffs(left) - 1));
    }
  }
  int32_t pair = token_in_chunk * r.k;
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    const uint32_t all = __ballot_sync(~0u, chosen >> slot & 1);
    if (chosen >> slot & 1) {
      const int32_t at = pair + __popc(all & ((1u << lane) - 1));
      chunk.expert[at] = 32 * slot + lane;
      atomicOr(&chunk.tokens_of[32 * slot + lane], 1u << token_in_chunk);
      plan.expert[chunk.first * r.k + at] = 32 * slot + lane;
      plan.weight[chunk.first * r.k + at] = __fdiv_rn(p[slot], sum);
    }
    pair += __popc(all);
  }
}

template <int kSlots>
__device__ void route_tokens(const Routing& r, const ExpertPlan& plan, Chunk& chunk) {
  const int32_t warp = threadIdx.x / 32;
  __syncthreads();
  if (warp * r.k < chunk.num_pairs) route_token<kSlots>(r, plan, chunk, warp);
  __syncthreads();
}

// Exclusive sum over the block's threads, of two numbers below 2^31 in one; the sum of all to `total`.
__device__ uint64_t sum_before(uint64_t value, uint64_t* total) {
  __shared__ uint64_t warps[32];
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint64_t sum = value;
  for (uint32_t offset = 1; offset < 32; offset *= 2) {
    const uint64_t left = __shfl_up_sync(~0u, sum, offset);
    if (lane >= offset) sum += left;
  }
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  uint64_t before = 0;
  *total = 0;
  for (uint32_t i = 0; i < blockDim.x / 32; ++i) {
    if (i < warp) before += warps[i];
    *total += warps[i];
  }
  return before + sum - value;
}

// The block: from each expert's number of rows (in place) its first row; the tiles.
__device__ void lay_out_experts(const Routing& r, const ExpertPlan& plan, int32_t (&rows)[kMaxExperts]) {
  __shared__ int32_t first_tile[kMaxExperts + 1];
  const int32_t e = threadIdx.x;
  const uint32_t count = e < r.num_experts ? rows[e] : 0, tiles = (count + r.tile_rows - 1) / r.tile_rows;
  uint64_t total;
  const uint64_t before = sum_before(uint64_t{tiles} << 32 | count, &total);
  const auto num_rows = static_cast<int32_t>(total), num_tiles = static_cast<int32_t>(total >> 32);
  if (e < r.num_experts) {
    rows[e] = static_cast<int32_t>(before);
    first_tile[e] = static_cast<int32_t>(before >> 32);
  }
  if (e == 0) {
    first_tile[r.num_experts] = num_tiles;
    *plan.num_tiles = num_tiles;
  }
  __syncthreads();
  // A tile's expert is the last one whose first tile is not behind it.
  for (int32_t i = threadIdx.x; i < num_tiles; i += blockDim.x) {
    int32_t low = 0, high = r.num_experts;
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      if (first_tile[middle] <= i)
        low = middle;
      else
        high = middle;
    }
    const int32_t end = low + 1 < r.num_experts ? rows[low + 1] : num_rows;
    const int32_t first = rows[low] + (i - first_tile[low]) * r.tile_rows;
    plan.tiles[i] = {low, first, min(r.tile_rows, end - first)};
  }
}

// The block: a chunk's pairs to their rows; `first_row(e)` is that of the chunk's first token with expert e.
template <typename FirstRow>
__device__ void place_pairs(const Routing& r, const ExpertPlan& plan, const Chunk& chunk, FirstRow first_row) {
  for (int32_t i = threadIdx.x; i < chunk.num_pairs; i += blockDim.x) {
    const int32_t token = i / r.k, e = chunk.expert[i];
    const int32_t row = first_row(e) + __popc(chunk.tokens_of[e] & ((1u << token) - 1));
    plan.permuted[chunk.first * r.k + i] = row;
    plan.row_token[row] = chunk.first + token;
  }
}

// Up to 32 tokens: everything in one block.
template <int kSlots>
__global__ void __launch_bounds__(kMaxThreads) route_few(Routing r, ExpertPlan plan) {
  __shared__ Chunk chunk;
  __shared__ int32_t rows[kMaxExperts];
  let_next_kernel_start();
  start_chunk(r, chunk, 0);
  wait_for_previous_kernel();
  route_tokens<kSlots>(r, plan, chunk);
  if (static_cast<int32_t>(threadIdx.x) < r.num_experts) rows[threadIdx.x] = __popc(chunk.tokens_of[threadIdx.x]);
  lay_out_experts(r, plan, rows);
  place_pairs(r, plan, chunk, [&](int32_t e) { return rows[e]; });
}

// Beyond: experts of a chunk and its counts, scratch[e][chunk].
template <int kSlots>
__global__ void __launch_bounds__(kMaxThreads) route_chunk(Routing r, ExpertPlan plan) {
  __shared__ Chunk chunk;
  let_next_kernel_start();
  start_chunk(r, chunk, blockIdx.x);
  wait_for_previous_kernel();
  route_tokens<kSlots>(r, plan, chunk);
  if (static_cast<int32_t>(threadIdx.x) < r.num_experts)
    plan.scratch[threadIdx.x * r.num_chunks() + blockIdx.x] = __popc(chunk.tokens_of[threadIdx.x]);
}

// One block: counts to sums over the chunks before, in place; each expert's first row behind them; the tiles.
__global__ void __launch_bounds__(kMaxThreads) plan_experts(Routing r, ExpertPlan plan) {
  __shared__ int32_t rows[kMaxExperts];
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int32_t lane = threadIdx.x % 32, chunks = r.num_chunks();
  for (int32_t e = threadIdx.x / 32; e < r.num_experts; e += blockDim.x / 32) {
    int32_t* counts = plan.scratch + e * chunks;
    int32_t before = 0;
    for (int32_t base = 0; base < chunks; base += 32) {
      const int32_t count = base + lane < chunks ? counts[base + lane] : 0;
      int32_t sum = count;
      for (int offset = 1; offset < 32; offset *= 2) {
        const int32_t left = __shfl_up_sync(~0u, sum, offset);
        if (lane >= offset) sum += left;
      }
      if (base + lane < chunks) counts[base + lane] = before + sum - count;
      before += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) rows[e] = before;
  }
  __syncthreads();
  lay_out_experts(r, plan, rows);
  if (static_cast<int32_t>(threadIdx.x) < r.num_experts)
    plan.scratch[r.num_experts * chunks + threadIdx.x] = rows[threadIdx.x];
}

__global__ void __launch_bounds__(kMaxThreads) permute_chunk(Routing r, ExpertPlan plan) {
  __shared__ Chunk chunk;
  let_next_kernel_start();
  start_chunk(r, chunk, blockIdx.x);
  wait_for_previous_kernel();
  __syncthreads();
  for (int32_t i = threadIdx.x; i < chunk.num_pairs; i += blockDim.x) {
    const int32_t e = plan.expert[chunk.first * r.k + i];
    chunk.expert[i] = e;
    atomicOr(&chunk.tokens_of[e], 1u << i / r.k);
  }
  __syncthreads();
  place_pairs(r, plan, chunk, [&](int32_t e) {
    return plan.scratch[r.num_experts * r.num_chunks() + e] + plan.scratch[e * r.num_chunks() + blockIdx.x];
  });
}

// gather_rows: out[r] = in[row_token[r]]. Moves 2 num_rows row_bytes (rows of `in` are read again from L2);
// memory-bound. One block a row, 16 bytes a thread.
__global__ void __launch_bounds__(256) gather_kernel(char* out, int64_t out_stride, const char* in, int64_t in_stride,
                                                     int64_t row_bytes, const int32_t* row_token) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const char* from = in + row_token[blockIdx.x] * in_stride;
  char* to = out + blockIdx.x * out_stride;
  for (int64_t i = 16 * threadIdx.x; i < row_bytes; i += 16 * 256)
    *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(from + i);
}

// combine_experts: x[t, c] += sum_j weight[t, j] out[permuted[t, j], c], by FMA in order of j from zero, then one
// addition. x [T, C], out [T k, C] f32. Moves 4 T C (k + 2) bytes; memory-bound. A block has 256 kWidth columns of a
// token.
//
// reference: ops/reference.cpp do_moe_add (double sums)    bench: bench/cuda/bench_sampling.cu
template <typename Vector>
__global__ void __launch_bounds__(256)
    combine_kernel(float* x, const float* out, ExpertPlan plan, int64_t num_cols, int32_t k) {
  constexpr int kWidth = sizeof(Vector) / sizeof(float);
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t token = blockIdx.x, col = (blockIdx.y * 256 + threadIdx.x) * kWidth;
  if (col >= num_cols) return;
  float sum[kWidth] = {};
#pragma unroll 8
  for (int32_t j = 0; j < k; ++j) {
    const float weight = plan.weight[token * k + j];
    const Vector y = *reinterpret_cast<const Vector*>(out + plan.permuted[token * k + j] * num_cols + col);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] = __fmaf_rn(weight, reinterpret_cast<const float*>(&y)[i], sum[i]);
  }
  Vector* const to = reinterpret_cast<Vector*>(x + token * num_cols + col);
  Vector value = *to;
#pragma unroll
  for (int i = 0; i < kWidth; ++i)
    reinterpret_cast<float*>(&value)[i] = __fadd_rn(reinterpret_cast<float*>(&value)[i], sum[i]);
  *to = value;
}

}  // namespace

cudaError_t route(const ExpertPlan& plan, const float* logits, int64_t num_tokens, int64_t num_experts,
                  int64_t num_experts_per_tok, bool norm_topk_prob, int64_t tile_rows, cudaStream_t stream) {
  if (num_experts > kMaxExperts || num_experts_per_tok > std::min(num_experts, kMaxExpertsPerToken) || tile_rows < 1)
    return cudaErrorInvalidValue;
  if (num_tokens <= 0) return cudaSuccess;
  const Routing r = {logits,
                     static_cast<int32_t>(num_tokens),
                     static_cast<int32_t>(num_experts),
                     static_cast<int32_t>(num_experts_per_tok),
                     norm_topk_prob,
                     static_cast<int32_t>(tile_rows)};
  const bool few_experts = num_experts <= 128;
  const int64_t warps = std::max((num_experts + 31) / 32, std::min<int64_t>(num_tokens, kChunk));
  const auto threads = static_cast<uint32_t>(32 * warps);
  if (num_tokens <= kChunk)
    return launch(few_experts ? route_few<4> : route_few<kMaxExperts / 32>, 1, threads, 0, stream, r, plan);
  if (const cudaError_t error = launch(few_experts ? route_chunk<4> : route_chunk<kMaxExperts / 32>, r.num_chunks(),
                                       threads, 0, stream, r, plan))
    return error;
  if (const cudaError_t error = launch(plan_experts, 1, kMaxThreads, 0, stream, r, plan)) return error;
  return launch(permute_chunk, r.num_chunks(), threads, 0, stream, r, plan);
}

cudaError_t gather_rows(void* out, int64_t out_stride_bytes, const void* in, int64_t in_stride_bytes, int64_t row_bytes,
                        const int32_t* row_token, int64_t num_rows, cudaStream_t stream) {
  if (row_bytes % 16 != 0 || out_stride_bytes % 16 != 0 || in_stride_bytes % 16 != 0) return cudaErrorInvalidValue;
  if (num_rows <= 0) return cudaSuccess;
  return launch(gather_kernel, static_cast<uint32_t>(num_rows), 256, 0, stream, static_cast<char*>(out),
                out_stride_bytes, static_cast<const char*>(in), in_stride_bytes, row_bytes, row_token);
}

cudaError_t combine_experts(float* x, const float* out, const ExpertPlan& plan, int64_t num_tokens, int64_t num_cols,
                            int64_t num_experts_per_tok, cudaStream_t stream) {
  if (num_tokens <= 0) return cudaSuccess;
  const int64_t width = num_cols % 4 == 0 ? 4 : 1;
  const dim3 grid(static_cast<uint32_t>(num_tokens),
                  static_cast<uint32_t>((num_cols + 256 * width - 1) / (256 * width)));
  return launch(width == 4 ? combine_kernel<float4> : combine_kernel<float>, grid, 256, 0, stream, x, out, plan,
                num_cols, num_experts_per_tok);
}

}  // namespace qwill::cuda
