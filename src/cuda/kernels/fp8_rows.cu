// fp8_rows: rows of values to e4m3 with scales (fp8.h, fp8_value.cuh): of activations one scale for 128 columns, of a
// weight's row one in all.
// activations: x [T, K] f32 or bf16, y [T, K] e4m3, scales [K / 128, T] f32: moves 5 T K or 3 T K bytes; a warp has
// four columns a lane of a block of 128; one block of threads a row for the norm, eight blocks of columns each without.
// weights: the source is read twice, the second time mostly from the L2 cache; only loading waits for it.
// reference: ops/reference.cpp to_e4m3_rows    test and bench: bench/cuda/bench_fp8.cu
#include <utility>

#include "cuda/kernels/fp8.h"
#include "cuda/kernels/fp8_value.cuh"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/row_norm.cuh"
#include "cuda/kernels/source.cuh"

namespace qwill::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlockCols = static_cast<int>(kFp8AtomCols);

// By a warp: four columns a lane.
__device__ __forceinline__ void store_block(const Fp8Rows& y, int64_t t, int64_t block, const Fp8Block& q) {
  const int lane = threadIdx.x % 32;
  *reinterpret_cast<uint32_t*>(static_cast<char*>(y.data) + t * y.padded_cols + block * kBlockCols + 4 * lane) =
      q.bytes;
  if (lane < y.scale_copies && lane <= t)
    y.scales[(lane * (y.padded_cols / kBlockCols) + block) * y.scale_stride + t - lane] = q.scale;
}

// The first `count` of four, and zeros.
__device__ __forceinline__ float4 first_of(const float4& v, int32_t count) {
  return make_float4(count > 0 ? v.x : 0, count > 1 ? v.y : 0, count > 2 ? v.z : 0, count > 3 ? v.w : 0);
}

__global__ void __launch_bounds__(kNormThreads)
    norm_kernel(const Fp8Rows y, const float* x, const float* weight, float eps, int32_t cols) {
  __shared__ float scratch[8];
  let_next_kernel_start();
  const int thread = threadIdx.x;
  RowSlice scale, slice;
  scale.load(weight, cols, thread);
  wait_for_previous_kernel();
  const int64_t t = blockIdx.x;
  slice.load(x + t * cols, cols, thread);
  const float inverse = inverse_rms(slice, cols, eps, scratch, thread);
  const auto store = [&]<int kFirst, int kCount>(std::integer_sequence<int, kFirst, kCount>) {
    float4 v[kCount];
    Fp8Block blocks[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int c = 4 * (thread + kNormThreads * (kFirst + i));
      v[i] = scaled(slice.values[kFirst + i], inverse, scale.values[kFirst + i]);
      if (c + 4 > cols) v[i] = first_of(v[i], cols - c);  // where the norm is NaN, zeros times it are too
    }
    quantize_blocks(blocks, v);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int c = 4 * (thread + kNormThreads * (kFirst + i));  // whole warps are within padded_cols or beyond
      if (c < y.padded_cols) store_block(y, t, c / kBlockCols, blocks[i]);
    }
  };
  store(std::integer_sequence<int, 0, 4>());  // most rows end within these
  if (4 * kNormThreads * 4 < y.padded_cols) store(std::integer_sequence<int, 4, kNormVectors - 4>());
}

__global__ void __launch_bounds__(kThreads) f32_kernel(const Fp8Rows y, const float* x, int32_t cols, int64_t stride) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t t = blockIdx.x, block = blockIdx.y * (kThreads / 32) + threadIdx.x / 32;
  if (block * kBlockCols >= y.padded_cols) return;
  const int64_t c = block * kBlockCols + threadIdx.x % 32 * 4;
  const float* row = x + t * stride;
  const auto at = [&](int64_t col) { return col < cols ? row[col] : 0.0f; };
  store_block(y, t, block, quantize_block(make_float4(at(c), at(c + 1), at(c + 2), at(c + 3))));
}

__global__ void __launch_bounds__(kThreads) bf16_kernel(const Fp8Rows y, const bfloat* x, int64_t stride) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int64_t t = blockIdx.x, block = blockIdx.y * (kThreads / 32) + threadIdx.x / 32;
  if (block * kBlockCols >= y.padded_cols) return;
  const int64_t c = block * kBlockCols + threadIdx.x % 32 * 4;
  const uint2 four = c < stride ? *reinterpret_cast<const uint2*>(x + t * stride + c) : make_uint2(0, 0);
  store_block(y, t, block, quantize_block(widen_4(four)));
}

// f(row, col) -> float of each row of a weight, one block of threads a row.
template <typename F>
__device__ __forceinline__ void fill_row(const Fp8Destination& to, int64_t first_row, int64_t cols, const F& f) {
  __shared__ float mosts[kThreads / 32];
  const int64_t row = blockIdx.x, placed = first_row + row;
  float most = 0;
  for (int64_t c = threadIdx.x; c < cols; c += kThreads) most = fmaxf(most, fabsf(f(row, c)));
  most = warp_most(most);
  if (threadIdx.x % 32 == 0) mosts[threadIdx.x / 32] = most;
  __syncthreads();
  for (const float other : mosts) most = fmaxf(most, other);
  const float scale = fp8_scale(most), inverse = 1.0f / scale;
  const int64_t to_row = (to.first_block + placed / 8 * to.block_stride) * 8 + placed % 8;
  if (threadIdx.x == 0) to.scales[to_row] = scale;
  for (int64_t c = threadIdx.x * 16; c < to.layout.padded_cols(); c += kThreads * 16) {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto at = [&](int64_t col) { return col < cols ? f(row, col) : 0.0f; };
      words[i] = pack_fp8(make_float4(at(c + 4 * i), at(c + 4 * i + 1), at(c + 4 * i + 2), at(c + 4 * i + 3)), inverse);
    }
    *reinterpret_cast<uint4*>(static_cast<char*>(to.data) + to.layout.offset(to_row, c)) =
        make_uint4(words[0], words[1], words[2], words[3]);
  }
}

__global__ void __launch_bounds__(kThreads)
    place_kernel(Fp8Destination to, const void* source, SourceType type, int64_t first_row, int64_t cols) {
  wait_for_previous_kernel();
  fill_row(to, first_row, cols, [&](int64_t row, int64_t col) { return read_element(source, type, row * cols + col); });
}

__global__ void __launch_bounds__(kThreads)
    random_kernel(Fp8Destination to, int64_t first_row, int64_t cols, uint64_t seed, float centre, float spread) {
  wait_for_previous_kernel();
  fill_row(to, first_row, cols,
           [&](int64_t row, int64_t col) { return random_element(seed, row * cols + col, centre, spread); });
}

// A warp for each row and block of columns.
dim3 warps_of(const Fp8Rows& y, int64_t num_rows) {
  const int64_t blocks = y.padded_cols / kBlockCols, warps = kThreads / 32;
  return {static_cast<unsigned>(num_rows), static_cast<unsigned>((blocks + warps - 1) / warps)};
}

}  // namespace

cudaError_t place_fp8(const Fp8Destination& to, const void* source, SourceType type, int64_t first_row,
                      int64_t num_rows, int64_t cols, cudaStream_t stream) {
  return launch(place_kernel, static_cast<unsigned>(num_rows), kThreads, 0, stream, to, source, type, first_row, cols);
}

cudaError_t random_fp8(const Fp8Destination& to, int64_t first_row, int64_t num_rows, int64_t cols, uint64_t seed,
                       float centre, float spread, cudaStream_t stream) {
  return launch(random_kernel, static_cast<unsigned>(num_rows), kThreads, 0, stream, to, first_row, cols, seed, centre,
                spread);
}

cudaError_t norm_to_fp8(const Fp8Rows& y, const float* x, const float* weight, float eps, int64_t cols,
                        int64_t num_rows, cudaStream_t stream) {
  return launch(norm_kernel, static_cast<unsigned>(num_rows), kNormThreads, 0, stream, y, x, weight, eps,
                static_cast<int32_t>(cols));
}

cudaError_t f32_to_fp8(const Fp8Rows& y, const float* x, int64_t cols, int64_t stride, int64_t num_rows,
                       cudaStream_t stream) {
  return launch(f32_kernel, warps_of(y, num_rows), kThreads, 0, stream, y, x, static_cast<int32_t>(cols), stride);
}

cudaError_t bf16_to_fp8(const Fp8Rows& y, const void* x, int64_t stride, int64_t num_rows, cudaStream_t stream) {
  return launch(bf16_kernel, warps_of(y, num_rows), kThreads, 0, stream, y, static_cast<const bfloat*>(x), stride);
}

}  // namespace qwill::cuda
