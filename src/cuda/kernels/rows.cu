// Memory-bound work on rows: one block a row, the row read and written once.
// reference: ops/reference.cpp rms_norm, do_embed, do_take_rows; ops/rope.cpp rope_row    test: tests/ops, tests/cuda
#include <algorithm>

#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/row_norm.cuh"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/sampling.h"

namespace qwill::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    embed_kernel(float* x, TableView table, const int32_t* tokens, const int32_t* draw_source, const int32_t* draws) {
  let_next_kernel_start();
  const int64_t t = blockIdx.x;
  if (threadIdx.x == 0) {
    prefetch_line(draw_source + t);
    prefetch_line(tokens + t);
  }
  wait_for_previous_kernel();
  const int32_t source = draw_source[t], token = source < 0 ? tokens[t] : id_of_draw(draws[source]);
  float* out = x + t * table.cols;
  if (!table.is_bf16) {
    const float* row = static_cast<const float*>(table.data) + static_cast<int64_t>(token) * table.cols;
#pragma unroll 4
    for (int32_t c = threadIdx.x; c < table.cols; c += kThreads) out[c] = row[c];
    return;
  }
  // Chunks of eight columns are contiguous; a thread asks for all of its before it waits for one.
  const bfloat* rows = static_cast<const bfloat*>(table.data);
#pragma unroll 4
  for (int32_t c = 8 * threadIdx.x; c < table.cols; c += 8 * kThreads) {
    const uint4 chunk = *reinterpret_cast<const uint4*>(rows + table.layout.offset(token, c));
    const auto* values = reinterpret_cast<const bfloat*>(&chunk);
#pragma unroll
    for (int32_t i = 0; i < 8; ++i)
      if (c + i < table.cols) out[c + i] = __bfloat162float(values[i]);
  }
}

// One block for row t and sequence t.
__global__ void begin_rows_kernel(BegunRows p) {
  const int32_t t = static_cast<int32_t>(blockIdx.x), i = static_cast<int32_t>(threadIdx.x);
  let_next_kernel_start();
  if (i == 32 && t < p.num_sequences) {
    prefetch_line(p.sent.seq_lens + t);
    prefetch_line(p.row_begin + t);
  }
  if (i == 0 && t < p.num_rows) {
    prefetch_line(p.draw_source + t);
    prefetch_line(p.sent.positions + t);
    prefetch_line(p.sent.slots + t);
    prefetch_line(p.rope_kinds + t);
  }
  if (i < p.half_dim) prefetch_line(p.inv_freq + i);
  wait_for_previous_kernel();
  const auto steps = static_cast<int32_t>(p.sent.steps);
  const auto has_ended = [&](int32_t row) {
    const int32_t source = p.draw_source[row];
    return source >= 0 && draw_stops(p.draws[source]);
  };
  if (i == 32 && t < p.num_sequences) {
    int32_t keys = p.sent.seq_lens[t];
    if (t < p.sent.num_sequences) {
      const int32_t row = p.row_begin[t];
      keys = p.row_begin[t + 1] - row == 1 && has_ended(row) ? 0 : keys + steps;
    }
    p.seq_lens[t] = keys;
  }
  if (t >= p.num_rows) return;
  const bool is_padding = t >= p.sent.num_rows;
  const int32_t position = p.sent.positions[t] + (is_padding ? 0 : steps);
  if (i == 0) {
    p.positions[t] = position;
    p.slots[t] = is_padding || has_ended(t) ? -1 : p.sent.slots[t] + steps;
  }
  if (i >= p.half_dim) return;
  const int32_t kind = p.rope_kinds[t];
  const float angle = __fmul_rn(p.inv_freq[kind * p.half_dim + i], static_cast<float>(position));
  double sine, cosine;
  sincos(static_cast<double>(angle), &sine, &cosine);
  const int64_t at = int64_t{t} * p.half_dim + i;
  p.cos[at] = __fmul_rn(static_cast<float>(cosine), p.factors[kind]);
  p.sin[at] = __fmul_rn(static_cast<float>(sine), p.factors[kind]);
}

__global__ void __launch_bounds__(kNormThreads)
    norm_kernel(bfloat* y_bf16, float* y_f32, const float* x, const float* weight, float eps, int32_t cols,
                int32_t padded_cols) {
  __shared__ float scratch[8];
  let_next_kernel_start();
  const int thread = threadIdx.x;
  RowSlice scale, slice;
  scale.load(weight, cols, thread);
  wait_for_previous_kernel();
  const int64_t t = blockIdx.x;
  slice.load(x + t * cols, cols, thread);
  const float inverse = inverse_rms(slice, cols, eps, scratch, thread);
#pragma unroll
  for (int j = 0; j < kNormVectors; ++j) {
    const int c = 4 * (thread + kNormThreads * j);
    const float4 y = scaled(slice.values[j], inverse, scale.values[j]);
    if (y_bf16 && c < padded_cols)
      *reinterpret_cast<uint2*>(y_bf16 + t * padded_cols + c) = make_uint2(pack_bf16(y.x, y.y), pack_bf16(y.z, y.w));
    if (!y_f32 || c >= cols) continue;
    float* out = y_f32 + t * cols + c;
    if (cols % 4 == 0) {
      *reinterpret_cast<float4*>(out) = y;
    } else {
      out[0] = y.x;
      if (c + 1 < cols) out[1] = y.y;
      if (c + 2 < cols) out[2] = y.z;
      if (c + 3 < cols) out[3] = y.w;
    }
  }
}

__global__ void __launch_bounds__(kThreads) to_bf16_kernel(bfloat* y, const float* x, int32_t cols, int32_t padded) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t t = blockIdx.x;
  for (int32_t c = threadIdx.x; c < padded; c += kThreads)
    y[t * padded + c] = __float2bfloat16_rn(c < cols ? x[t * cols + c] : 0.0f);
}

__global__ void __launch_bounds__(kThreads) to_f32_kernel(float* y, const bfloat* x, int32_t cols, int32_t padded) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t t = blockIdx.x;
  for (int32_t c = threadIdx.x; c < cols; c += kThreads) y[t * cols + c] = __bfloat162float(x[t * padded + c]);
}

__global__ void __launch_bounds__(kThreads)
    copy_rows_kernel(float* y, const float* x, const int32_t* rows, int32_t cols) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t r = blockIdx.x, from = rows[r];
  for (int32_t c = threadIdx.x; c < cols; c += kThreads) y[r * cols + c] = x[from * cols + c];
}

unsigned blocks(int64_t rows) { return static_cast<unsigned>(rows); }

// copy_words: to[i] = from[i]. Bound by the latency of the bus, 1 to 2 us.
__global__ void copy_words_kernel(uint4* to, const uint4* from, int64_t num_words) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, stride = gridDim.x * blockDim.x;
  for (int64_t i = first; i < num_words / 4; i += stride) to[i] = from[i];
  const int64_t rest = num_words / 4 * 4 + first;
  if (rest < num_words) reinterpret_cast<uint32_t*>(to)[rest] = reinterpret_cast<const uint32_t*>(from)[rest];
}

// copy_strided: count runs of run_bytes, each stride_bytes behind the one before. One block a run.
__global__ void copy_strided_kernel(char* to, const char* from, int64_t run_bytes, int64_t stride_bytes) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t offset = blockIdx.x * stride_bytes;
  for (int64_t i = threadIdx.x * 16; i < run_bytes; i += blockDim.x * 16)
    *reinterpret_cast<uint4*>(to + offset + i) = *reinterpret_cast<const uint4*>(from + offset + i);
}

// clear_values: zeros behind the first entries of some pages' values. A block has one head of one page in one layer.
struct Rests {
  PageRest at[kMaxRests];
};
__global__ void __launch_bounds__(kThreads) clear_values_kernel(CacheSlices cache, Rests rests) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const PageRest rest = rests.at[blockIdx.z];
  char* values = static_cast<char*>(cache.data) + blockIdx.y * cache.layer_bytes +
                 (rest.page * cache.num_kv_heads + blockIdx.x) * 2 * cache.half_bytes + cache.half_bytes;
  const int64_t run = cache.page_size * 128, first = int64_t{rest.first_entry} * 128;
  for (int64_t at = 0; at < cache.half_bytes; at += run)
    for (int64_t i = first + threadIdx.x * 16; i < run; i += kThreads * 16)
      *reinterpret_cast<uint4*>(values + at + i) = make_uint4(0, 0, 0, 0);
}

}  // namespace

cudaError_t clear_values(const CacheSlices& cache, std::span<const PageRest> rests, cudaStream_t stream) {
  Rests list{};
  std::copy(rests.begin(), rests.end(), list.at);
  return launch(clear_values_kernel,
                dim3(static_cast<unsigned>(cache.num_kv_heads), static_cast<unsigned>(cache.num_layers),
                     static_cast<unsigned>(rests.size())),
                kThreads, 0, stream, cache, list);
}

cudaError_t embed_rows(float* x, const TableView& table, const int32_t* tokens, const int32_t* draw_source,
                       const int32_t* draws, int64_t num_rows, cudaStream_t stream) {
  return launch(embed_kernel, blocks(num_rows), kThreads, 0, stream, x, table, tokens, draw_source, draws);
}

cudaError_t begin_rows(const BegunRows& rows, cudaStream_t stream) {
  const int32_t num_blocks = std::max(rows.num_rows, rows.num_sequences);
  if (num_blocks == 0) return cudaSuccess;
  return launch(begin_rows_kernel, blocks(num_blocks), static_cast<unsigned>(std::max(64, rows.half_dim)), 0, stream,
                rows);
}

cudaError_t norm_rows(void* y_bf16, float* y_f32, const float* x, const float* weight, float eps, int64_t cols,
                      int64_t padded_cols, int64_t num_rows, cudaStream_t stream) {
  return launch(norm_kernel, blocks(num_rows), kNormThreads, 0, stream, static_cast<bfloat*>(y_bf16), y_f32, x, weight,
                eps, static_cast<int32_t>(cols), static_cast<int32_t>(padded_cols));
}

cudaError_t to_bf16_rows(void* y, const float* x, int64_t cols, int64_t padded_cols, int64_t num_rows,
                         cudaStream_t stream) {
  return launch(to_bf16_kernel, blocks(num_rows), kThreads, 0, stream, static_cast<bfloat*>(y), x,
                static_cast<int32_t>(cols), static_cast<int32_t>(padded_cols));
}

cudaError_t to_f32_rows(float* y, const void* x, int64_t cols, int64_t padded_cols, int64_t num_rows,
                        cudaStream_t stream) {
  return launch(to_f32_kernel, blocks(num_rows), kThreads, 0, stream, y, static_cast<const bfloat*>(x),
                static_cast<int32_t>(cols), static_cast<int32_t>(padded_cols));
}

cudaError_t copy_words(void* to, const void* from, int64_t bytes, cudaStream_t stream) {
  const int64_t num_words = bytes / 4;
  const auto num_blocks = static_cast<unsigned>(std::clamp<int64_t>((num_words / 4 + kThreads - 1) / kThreads, 1, 64));
  return launch(copy_words_kernel, dim3(num_blocks), kThreads, 0, stream, static_cast<uint4*>(to),
                static_cast<const uint4*>(from), num_words);
}

cudaError_t copy_strided(void* to, const void* from, int64_t run_bytes, int64_t stride_bytes, int64_t count,
                         cudaStream_t stream) {
  return launch(copy_strided_kernel, blocks(count), 1024, 0, stream, static_cast<char*>(to),
                static_cast<const char*>(from), run_bytes, stride_bytes);
}

cudaError_t copy_rows(float* y, const float* x, const int32_t* rows, int64_t cols, int64_t num_rows,
                      cudaStream_t stream) {
  return launch(copy_rows_kernel, blocks(num_rows), kThreads, 0, stream, y, x, rows, static_cast<int32_t>(cols));
}

}  // namespace qwill::cuda
