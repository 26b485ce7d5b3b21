#include "cuda/kernels/attention_common.cuh"
#include "cuda/kernels/launch.cuh"

namespace qwill::cuda {
namespace {

// Where a page keeps (entry, dim), from its block's first element (attention.h).
__device__ __forceinline__ int64_t in_block(const KvLayout& kv, int64_t entry, int64_t dim, bfloat) {
  return kv.in_block(entry, dim);
}
__device__ __forceinline__ int64_t in_block(const KvLayout& kv, int64_t entry, int64_t dim, float) {
  return entry * kv.padded_dim + dim;
}

constexpr int kWarps = 8, kHeadsOfWarp = 4;

// rope_and_store: per row and head q, k = rotate(rms_norm(x)); q to its buffer, k and v to the row's slot in the pages.
// qkv [T, (H + 2 KV) D] f32; q [T, H, padded_dim], zeros from D on, and the pages in Element (bf16, f32)
// moves T (H + 2 KV) D (4 + sizeof(Element)) bytes; memory-bound; one warp has some heads of a row under way at once
// reference: ops/reference.cpp attend (first loop)    test, bench: bench/cuda/bench_attention.cu
template <typename Element>
__global__ void __launch_bounds__(32 * kWarps) rope_and_store_kernel(AttendArgs args) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int lane = threadIdx.x % 32;
  const int num_heads = args.num_heads + 2 * args.num_kv_heads;
  const int warps_of_row = (num_heads + kHeadsOfWarp - 1) / kHeadsOfWarp;
  const uint32_t warp = blockIdx.x * kWarps + threadIdx.x / 32;
  // The last heads of all rows first: what the product has written last is still in the L2 cache.
  const auto num_rows = static_cast<uint32_t>(args.num_rows);
  const int64_t row = warp % num_rows;
  const int first = (warps_of_row - 1 - static_cast<int>(warp / num_rows)) * kHeadsOfWarp;
  if (first < 0) return;

  const int dim = args.head_dim, half = dim / 2;
  const int32_t slot = args.slots[row];
  Head heads[kHeadsOfWarp];
#pragma unroll
  for (int i = 0; i < kHeadsOfWarp; ++i)
    if (first + i < num_heads)
      heads[i] = load_head(args.qkv + row * args.ld_qkv + int64_t{first + i} * dim, half, lane);
  Rotation rotation;
  if (first < args.num_heads + args.num_kv_heads)
    rotation = load_rotation(args.cos + row * half, args.sin + row * half, half, lane);
#pragma unroll
  for (int i = 0; i < kHeadsOfWarp; ++i) {
    Head& x = heads[i];
    const int head = first + i, kv_head = head - args.num_heads;
    const bool is_query = kv_head < 0, is_key = !is_query && kv_head < args.num_kv_heads;
    if (head >= num_heads || (!is_query && slot < 0)) return;
    if (is_query || is_key)
      norm_and_rotate(x, load_head(is_query ? args.q_norm : args.k_norm, half, lane), args.norm_eps, rotation, dim);
    if (is_query) {
      Element* q = static_cast<Element*>(args.q) + (row * args.num_heads + head) * args.kv.padded_dim;
      store_head(x, half, lane, [&](int d, float value) { q[d] = Element(value); });
      clear_padding(q, dim, args.kv.padded_dim, lane);
      continue;
    }
    const int64_t page = slot / args.kv.page_size, entry = slot % args.kv.page_size;
    Element* block = static_cast<Element*>(args.kv.data) +
                     (is_key ? args.kv.keys(page, kv_head) : args.kv.values(page, kv_head - args.num_kv_heads));
    store_head(x, half, lane,
               [&](int d, float value) { block[in_block(args.kv, entry, d, Element())] = Element(value); });
  }
}

template <typename Element>
cudaError_t launch_rope_and_store(const AttendArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return cudaSuccess;
  const int64_t warps_of_row = (args.num_heads + 2 * args.num_kv_heads + kHeadsOfWarp - 1) / kHeadsOfWarp;
  const int64_t warps = args.num_rows * warps_of_row;
  return launch(rope_and_store_kernel<Element>, dim3(static_cast<unsigned>((warps + kWarps - 1) / kWarps)),
                dim3(32 * kWarps), 0, stream, args);
}

}  // namespace

cudaError_t rope_and_store(const AttendArgs& args, cudaStream_t stream) {
  return launch_rope_and_store<bfloat>(args, stream);
}
cudaError_t rope_and_store_f32(const AttendArgs& args, cudaStream_t stream) {
  return launch_rope_and_store<float>(args, stream);
}

}  // namespace qwill::cuda
