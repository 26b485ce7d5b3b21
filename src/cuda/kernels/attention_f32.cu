#include "cuda/kernels/attention_common.cuh"
#include "cuda/kernels/launch.cuh"

namespace qwill::cuda {
namespace {

// Sequence of a row: the last that begins at or before it (padding may add empty ones behind).
__device__ int sequence_of(const AttendArgs& args, int row) {
  int first = 0, last = args.num_sequences - 1;
  while (first < last) {
    const int middle = (first + last + 1) / 2;
    if (args.row_begin[middle] <= row)
      first = middle;
    else
      last = middle - 1;
  }
  return first;
}

// A value per thread, combined over the block in a fixed order; all threads get the result.
template <typename Combine>
__device__ float combine(float value, float (&shared)[kTile], Combine two) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (int step = kTile / 2; step > 0; step /= 2) {
    if (threadIdx.x < step) shared[threadIdx.x] = two(shared[threadIdx.x], shared[threadIdx.x + step]);
    __syncthreads();
  }
  const float result = shared[0];
  __syncthreads();
  return result;
}

// attend_f32: causal attention of any rows over f32 pages, the tile formula of ops.h in f32 with accurate exponentials.
// q [T, H, padded_dim] f32, out [T, ld_out] f32; sums over D and over a tile's keys in order, so not bit-equal to the
// reference (relative error about 1e-6)
// For exactness, not speed: one block a (row, head); thread i scores key i of a tile, then sums dimension i.
// reference: ops/reference.cpp attend_row    test: bench/cuda/bench_attention.cu
__global__ void __launch_bounds__(kTile) attend_f32_kernel(AttendArgs args, float scale) {
  __shared__ float q[kTile], p[kTile], shared[kTile];
  let_next_kernel_start();
  wait_for_previous_kernel();
  const int row = blockIdx.x, head = blockIdx.y, thread = threadIdx.x, dim = args.head_dim;
  const int sequence = sequence_of(args, row);
  if (args.seq_lens[sequence] == 0) return;
  const KvLayout& kv = args.kv;
  const int kv_head = head / args.group();
  const int num_keys = args.positions[row] + 1;
  const int32_t* pages = args.page_table + int64_t{sequence} * args.max_pages;
  const float* data = static_cast<const float*>(kv.data);
  if (thread < dim)
    q[thread] = static_cast<const float*>(args.q)[(int64_t{row} * args.num_heads + head) * kv.padded_dim + thread];
  __syncthreads();

  struct {
    float m = -INFINITY, l = 0, o = 0;
    __device__ void merge(float m_b, float l_b, float o_b) {
      if (l_b == 0) return;
      const float top = fmaxf(m, m_b), a = expf(m - top), b = expf(m_b - top);
      m = top;
      l = l * a + l_b * b;
      o = o * a + o_b * b;
    }
  } group, total;
  for (int first = 0; first < num_keys; first += kTile) {
    if (first % (kGroup * kTile) == 0) {
      total.merge(group.m, group.l, group.o);
      group = {};
    }
    const int count = min(kTile, num_keys - first);
    const auto block_of = [&](int key) { return kv.keys(pages[(first + key) / kv.page_size], kv_head); };
    float score = -INFINITY;
    if (thread < count) {
      const float* k = data + block_of(thread) + int64_t{(first + thread) % kv.page_size} * kv.padded_dim;
      float dot = 0;
      for (int d = 0; d < dim; ++d) dot = fmaf(q[d], k[d], dot);
      score = dot * scale;
    }
    const float m = combine(score, shared, [](float a, float b) { return fmaxf(a, b); });
    p[thread] = expf(score - m);
    const float l = combine(p[thread], shared, [](float a, float b) { return a + b; });
    float o = 0;
    if (thread < dim)
      for (int key = 0; key < count; ++key)
        o = fmaf(
            p[key],
            data[block_of(key) + kv.block_elements() + int64_t{(first + key) % kv.page_size} * kv.padded_dim + thread],
            o);
    group.merge(m, l, o);
    __syncthreads();
  }
  total.merge(group.m, group.l, group.o);

  float* out = static_cast<float*>(args.out) + row * args.ld_out;
  if (thread < dim) out[head * dim + thread] = total.o / total.l;
  if (head == args.num_heads - 1 && thread < 32) clear_padding(out, int64_t{args.num_heads} * dim, args.ld_out, thread);
}

}  // namespace

cudaError_t attend_f32(const AttendArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return cudaSuccess;
  return launch(attend_f32_kernel, dim3(static_cast<unsigned>(args.num_rows), static_cast<unsigned>(args.num_heads)),
                dim3(kTile), 0, stream, args, 1 / std::sqrt(static_cast<float>(args.head_dim)));
}

}  // namespace qwill::cuda
