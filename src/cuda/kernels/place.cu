// Weights on their way to where they lie, random ones, and how fast memory can be read. Bound by memory.
#include <algorithm>

#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/source.cuh"

namespace qwill::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 132 * 8;

// f(row, col) -> float for each element, eight columns a thread; columns beyond `cols` are zeros.
template <typename F>
__device__ __forceinline__ void fill_rows(const Destination& to, int64_t first_row, int64_t num_rows, int64_t cols,
                                          const F& f) {
  const int64_t chunks = to.layout.col_blocks * 8;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < num_rows * chunks;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t row = i / chunks, col = i % chunks * 8, placed = first_row + row;
    uint32_t pairs[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t c = col + 2 * k;
      pairs[k] = pack_bf16(c < cols ? f(row, c) : 0.0f, c + 1 < cols ? f(row, c + 1) : 0.0f);
    }
    const int64_t block = to.first_block + placed / 8 * to.block_stride;
    bfloat* out = static_cast<bfloat*>(to.data) + to.layout.offset(block * 8 + placed % 8, col);
    *reinterpret_cast<uint4*>(out) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }
}

__global__ void __launch_bounds__(kThreads) place_kernel(Destination to, const void* source, SourceType type,
                                                         int64_t first_row, int64_t num_rows, int64_t cols) {
  wait_for_previous_kernel();
  fill_rows(to, first_row, num_rows, cols,
            [&](int64_t row, int64_t col) { return read_element(source, type, row * cols + col); });
}

// The usual case: bf16 rows whose chunks of 16 bytes only change their places.
__global__ void __launch_bounds__(kThreads)
    place_chunks_kernel(Destination to, const uint4* source, int64_t first_row, int64_t num_rows) {
  wait_for_previous_kernel();
  const int64_t chunks = to.layout.col_blocks * 8;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < num_rows * chunks;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t placed = first_row + i / chunks, block = to.first_block + placed / 8 * to.block_stride;
    bfloat* out = static_cast<bfloat*>(to.data) + to.layout.offset(block * 8 + placed % 8, i % chunks * 8);
    *reinterpret_cast<uint4*>(out) = __ldcs(source + i);
  }
}

__global__ void __launch_bounds__(kThreads)
    random_rows_kernel(Destination to, int64_t first_row, int64_t num_rows, int64_t cols, uint64_t seed, float centre,
                       float spread) {
  wait_for_previous_kernel();
  fill_rows(to, first_row, num_rows, cols,
            [&](int64_t row, int64_t col) { return random_element(seed, row * cols + col, centre, spread); });
}

__global__ void __launch_bounds__(kThreads)
    random_kernel(float* to, int64_t count, uint64_t seed, float centre, float spread) {
  wait_for_previous_kernel();
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * kThreads)
    to[i] = __bfloat162float(__float2bfloat16_rn(random_element(seed, i, centre, spread)));
}

__global__ void __launch_bounds__(kThreads)
    widen_kernel(float* to, const void* source, SourceType type, int64_t count) {
  wait_for_previous_kernel();
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * kThreads)
    to[i] = read_element(source, type, i);
}

__global__ void __launch_bounds__(512) read_plain_kernel(const uint4* data, int64_t count, uint4* sink) {
  uint4 sum = make_uint4(0, 0, 0, 0);
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const uint4 v = __ldcs(data + i);
    sum = make_uint4(sum.x ^ v.x, sum.y ^ v.y, sum.z ^ v.z, sum.w ^ v.w);
  }
  if (sum.x == 1 && sum.y == 2 && sum.z == 3 && sum.w == 4) *sink = sum;  // or nothing would be read
}

constexpr int kBulkSlots = 6, kBulkBytes = 16 * 1024;

__global__ void __launch_bounds__(32) read_bulk_kernel(const char* data, int64_t num_chunks) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) char slots[];
  __shared__ uint64_t full[kBulkSlots];
  if (threadIdx.x != 0) return;
  for (int s = 0; s < kBulkSlots; ++s) barrier_init(shared_address(&full[s]), 1);
  barrier_init_fence();
  int64_t next = blockIdx.x;
  const auto load = [&](int slot) {
    barrier_expect_bytes(shared_address(&full[slot]), kBulkBytes);
    copy_bulk(shared_address(slots + slot * kBulkBytes), data + next * kBulkBytes, kBulkBytes,
              shared_address(&full[slot]));
    next += gridDim.x;
  };
  for (int s = 0; s < kBulkSlots && next < num_chunks; ++s) load(s);
  int slot = 0;
  uint32_t parity = 0;
  for (int64_t chunk = blockIdx.x; chunk < num_chunks; chunk += gridDim.x) {
    barrier_wait(shared_address(&full[slot]), parity);
    if (next < num_chunks) load(slot);
    if (++slot == kBulkSlots) slot = 0, parity ^= 1;
  }
#endif
}

}  // namespace

cudaError_t place_bf16(const Destination& to, const void* source, SourceType type, int64_t first_row, int64_t num_rows,
                       int64_t cols, cudaStream_t stream) {
  if (type == SourceType::bf16 && cols % 64 == 0)
    return launch(place_chunks_kernel, kBlocks, kThreads, 0, stream, to, static_cast<const uint4*>(source), first_row,
                  num_rows);
  return launch(place_kernel, kBlocks, kThreads, 0, stream, to, source, type, first_row, num_rows, cols);
}

cudaError_t widen(float* to, const void* source, SourceType type, int64_t count, cudaStream_t stream) {
  return launch(widen_kernel, kBlocks, kThreads, 0, stream, to, source, type, count);
}

cudaError_t random_bf16(const Destination& to, int64_t first_row, int64_t num_rows, int64_t cols, uint64_t seed,
                        float centre, float spread, cudaStream_t stream) {
  return launch(random_rows_kernel, kBlocks, kThreads, 0, stream, to, first_row, num_rows, cols, seed, centre, spread);
}

cudaError_t random_f32(float* to, int64_t count, uint64_t seed, float centre, float spread, cudaStream_t stream) {
  return launch(random_kernel, kBlocks, kThreads, 0, stream, to, count, seed, centre, spread);
}

cudaError_t read_plain(const void* data, int64_t bytes, int num_blocks, void* sink, cudaStream_t stream) {
  return launch(read_plain_kernel, static_cast<unsigned>(num_blocks), 512, 0, stream, static_cast<const uint4*>(data),
                bytes / 16, static_cast<uint4*>(sink));
}

cudaError_t read_bulk(const void* data, int64_t bytes, int num_blocks, cudaStream_t stream) {
  if (const cudaError_t error = allow_shared(read_bulk_kernel, kBulkSlots * kBulkBytes); error != cudaSuccess)
    return error;
  return launch(read_bulk_kernel, static_cast<unsigned>(num_blocks), 32, kBulkSlots * kBulkBytes, stream,
                static_cast<const char*>(data), bytes / kBulkBytes);
}

}  // namespace qwill::cuda
