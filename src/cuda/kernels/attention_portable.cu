#include "cuda/kernels/attention_common.cuh"
#include "cuda/kernels/attention_query.cuh"
#include "cuda/kernels/launch.cuh"

namespace qwill::cuda {
namespace {

constexpr int kWarps = 8;

template <int kDim>
struct PortableShared {
  uint8_t q[kTileBytes<kDim>];
  uint8_t k[kTileBytes<kDim>];
  uint8_t v[kTileBytes<kDim>];
};

// attend_portable: causal attention of a tile of queries over their sequence's pages, for cards from sm_80 on.
// q [T, H, padded_dim] bf16, or f16 where pages are e4m3, which are widened on their way; out [T, ld_out] bf16
// 4 D flops per query and key it sees; keys and values by cp.async, one tile of each: the next keys come while the
// values are multiplied, the next values while the keys are; each warp has 16 of the 128 (row, head) pairs
// reference: ops/reference.cpp attend, bit-equal to attend_prefill    test, bench: bench/cuda/bench_attention.cu
template <int kDim, typename Cache>
__global__ void __launch_bounds__(32 * kWarps, 1)
    attend_portable_kernel(AttendArgs args, const QueryTile* tiles, float scale) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<PortableShared<kDim>*>(shared_bytes);
  let_next_kernel_start();
  wait_for_previous_kernel();
  const QueryTile tile = tiles[blockIdx.y];
  if (tile.sequence < 0) return;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = blockIdx.x;
  const Queries queries(args, tile, kv_head);
  const KvLayout& kv = args.kv;
  const int32_t* pages = args.page_table + int64_t{tile.sequence} * args.max_pages;

  // Chunks of 16 bytes are copied one by one, with the swizzle in which the pages keep them; of e4m3 they are two.
  constexpr int kRowChunks = kCachedBlocks<kDim, Cache> * 8;
  const auto load = [&](uint8_t* to, int tile_idx, bool values) {
    for (int i = threadIdx.x; i < kTile * kRowChunks; i += 32 * kWarps) {
      const int block = i / (kTile * 8), key = i / 8 % kTile, chunk = i % 8;
      const int entry = tile_idx * kTile + key;
      const int64_t page = pages[min(entry / kv.page_size, args.max_pages - 1)];
      const uint8_t* from = cached_block<Cache>(kv, page, kv_head, values) +
                            (block * kv.page_size + entry % kv.page_size) * 128 + chunk * 16;
      if constexpr (std::is_same_v<Cache, Fp8Cache>) {
        const int first = (chunk ^ (key & 7)) * 2;  // of the chunks it becomes
        uint4 chunks[2];
        Cache::widen_chunk(chunks, *reinterpret_cast<const uint4*>(from), values);
        for (int j = 0; j < 2; ++j)
          store_16(shared_address(to) + first / 8 * kTileBlockBytes + swizzled(key, first % 8 + j), chunks[j]);
      } else {
        copy_16_async(shared_address(to) + i * 16, from);
      }
    }
    commit_copies();
  };
  load(shared.k, 0, false);
  load(shared.v, 0, true);
  queries.load<kDim>(shared.q, threadIdx.x, 32 * kWarps, 0, kQueryRows);

  const int pairs[2] = {warp * 16 + lane / 4, warp * 16 + lane / 4 + 8};
  const int positions[2] = {queries.position(pairs[0]), queries.position(pairs[1])};
  const uint32_t q = shared_address(shared.q), k = shared_address(shared.k), v = shared_address(shared.v);
  const int num_tiles = queries.num_key_tiles();
  Part<kDim / 2> group, total;
  for (int t = 0; t < num_tiles; ++t) {
    if (t > 0 && t % kGroup == 0) {
      total.merge(group, scale);
      group = {};
    }
    wait_for_copies<1>();
    __syncthreads();
    float scores[kTile / 2] = {};
#pragma unroll 1  // registers are scarce
    for (int d = 0; d < kDim / 16; d += 2) {
      uint32_t a[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i)
        load_matrices(a[i], q + d / 4 * kTileBlockBytes + swizzled(warp * 16 + lane % 16, (d + i) % 4 * 2 + lane / 16));
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n) {
        uint32_t b[4];
        load_matrices(b, k + d / 4 * kTileBlockBytes + swizzled(n * 8 + lane % 8, d % 4 * 2 + lane / 8));
        float(&s)[4] = *reinterpret_cast<float(*)[4]>(scores + 4 * n);
        Cache::multiply(s, a[0], b[0], b[1]);
        Cache::multiply(s, a[1], b[2], b[3]);
      }
    }
    __syncthreads();
    if (t + 1 < num_tiles)
      load(shared.k, t + 1, false);
    else
      commit_copies();

    if (t * kTile + kTile - 1 > queries.first_position()) mask_scores(scores, t * kTile, positions, lane);
    PartScalars part;
    row_maxima(scores, part.m);
    uint32_t p[kTile / 4];
    probabilities<Cache>(scores, part.m, scale, p);
    RowSums<Cache> sums;
#pragma unroll
    for (int key = 0; key < kTile / 16; ++key) sums.add(*reinterpret_cast<const uint32_t(*)[4]>(p + 4 * key));
    part.l[0] = sums.of_row(0);
    part.l[1] = sums.of_row(1);
    const MergeFactors f[2] = {group.PartScalars::merge(part, 0, scale), group.PartScalars::merge(part, 1, scale)};

    wait_for_copies<1>();
    __syncthreads();
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      float o[2][4] = {};
#pragma unroll
      for (int key = 0; key < kTile / 16; ++key) {
        const int chunk = n + lane / 16;
        uint32_t b[4];
        load_matrices_transposed(b, v + n / 8 * kTileBlockBytes + swizzled(key * 16 + lane % 16, chunk % 8));
        const auto& a = *reinterpret_cast<const uint32_t(*)[4]>(p + 4 * key);
        Cache::multiply(o[0], a, b[0], b[1]);
        Cache::multiply(o[1], a, b[2], b[3]);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) group.o[4 * n + i] = merged(group.o[4 * n + i], o[i / 4][i % 4], f[i / 2 % 2]);
    }
    __syncthreads();
    if (t + 1 < num_tiles)
      load(shared.v, t + 1, true);
    else
      commit_copies();
  }
  total.merge(group, scale);
  queries.store(total.o, total.l, pairs, lane);
}

template <int kDim, typename Cache = Bf16Cache>
cudaError_t launch_portable(const AttendArgs& args, const QueryTile* tiles, int32_t num_tiles, cudaStream_t stream) {
  constexpr size_t kBytes = sizeof(PortableShared<kDim>);
  static const cudaError_t allowed = allow_shared(attend_portable_kernel<kDim, Cache>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  return launch(attend_portable_kernel<kDim, Cache>, dim3(args.num_kv_heads, num_tiles), dim3(32 * kWarps), kBytes,
                stream, args, tiles, score_scale(args.head_dim));
}

}  // namespace

cudaError_t attend_portable(const AttendArgs& args, const QueryTile* tiles, int32_t num_tiles, cudaStream_t stream) {
  if (num_tiles == 0) return cudaSuccess;
  if (args.kv.is_fp8) return launch_portable<128, Fp8Cache>(args, tiles, num_tiles, stream);
  return args.kv.padded_dim == 64 ? launch_portable<64>(args, tiles, num_tiles, stream)
                                  : launch_portable<128>(args, tiles, num_tiles, stream);
}

}  // namespace qwill::cuda
