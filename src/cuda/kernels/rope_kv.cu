#include "cuda/kernels/attention_common.cuh"
#include "cuda/kernels/launch.cuh"

namespace qwill::cuda {
namespace {

// For exactness (attention.h): nothing is rounded.
struct F32Cache {
  using Element = float;
  using Operand = float;
  __device__ __forceinline__ static Operand operand(float x) { return x; }
  __device__ __forceinline__ static Element element(float x) { return x; }
  __device__ __forceinline__ static int place(int dim, bool) { return dim; }
  __device__ __forceinline__ static int64_t in_block(const KvLayout& kv, int64_t entry, int64_t place) {
    return entry * kv.padded_dim + place;
  }
};

constexpr int kWarps = 8;

// rope_and_store: per row and head q, k = rotate(rms_norm(x)); q to its buffer, k and v to the row's slot in the pages.
// qkv [T, (H + 2 KV) D] f32; q [T, H, padded_dim], zeros from D on, as the cache's operands (bf16, f16, f32), the pages
// as its elements (bf16, e4m3, f32)
// moves T (H D (4 + sizeof(Operand)) + 2 KV D (4 + sizeof(Element))) bytes; memory-bound; one warp a head
// reference: ops/reference.cpp attend (first loop)    test, bench: bench/cuda/bench_attention.cu
template <typename Cache>
__global__ void __launch_bounds__(32 * kWarps) rope_and_store_kernel(AttendArgs args) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int lane = threadIdx.x % 32;
  const int num_heads = args.num_heads + 2 * args.num_kv_heads;
  const int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t row = item / num_heads;
  int head = static_cast<int>(item - row * num_heads);
  if (row >= args.num_rows) return;

  const int dim = args.head_dim, half = dim / 2;
  const int32_t slot = args.slots[row];
  const bool is_query = head < args.num_heads;
  if (!is_query && slot < 0) return;
  Head x = load_head(args.qkv + row * args.ld_qkv + int64_t{head} * dim, half, lane);
  if (head < args.num_heads + args.num_kv_heads)
    norm_and_rotate(x, load_head(is_query ? args.q_norm : args.k_norm, half, lane), args.norm_eps,
                    load_rotation(args.cos + row * half, args.sin + row * half, half, lane), dim);
  if (is_query) {
    auto* q = static_cast<typename Cache::Operand*>(args.q) + (row * args.num_heads + head) * args.kv.padded_dim;
    store_head(x, half, lane, [&](int d, float value) { q[d] = Cache::operand(value); });
    clear_padding(q, dim, args.kv.padded_dim, lane);
    return;
  }
  head -= args.num_heads;
  const bool is_key = head < args.num_kv_heads;
  const int64_t page = slot / args.kv.page_size, entry = slot % args.kv.page_size;
  auto* block = static_cast<typename Cache::Element*>(args.kv.data) +
                (is_key ? args.kv.keys(page, head) : args.kv.values(page, head - args.num_kv_heads));
  store_head(x, half, lane, [&](int d, float value) {
    block[Cache::in_block(args.kv, entry, Cache::place(d, !is_key))] = Cache::element(value);
  });
}

template <typename Cache>
cudaError_t launch_rope_and_store(const AttendArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return cudaSuccess;
  const int64_t items = int64_t{args.num_rows} * (args.num_heads + 2 * args.num_kv_heads);
  return launch(rope_and_store_kernel<Cache>, dim3(static_cast<unsigned>((items + kWarps - 1) / kWarps)),
                dim3(32 * kWarps), 0, stream, args);
}

}  // namespace

cudaError_t rope_and_store(const AttendArgs& args, cudaStream_t stream) {
  return args.kv.is_fp8 ? launch_rope_and_store<Fp8Cache>(args, stream)
                        : launch_rope_and_store<Bf16Cache>(args, stream);
}
cudaError_t rope_and_store_f32(const AttendArgs& args, cudaStream_t stream) {
  return launch_rope_and_store<F32Cache>(args, stream);
}

}  // namespace qwill::cuda
