#include "cuda/kernels/attention_common.cuh"
#include "cuda/kernels/attention_query.cuh"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/fp8_value.cuh"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace qwill::cuda {
namespace {

constexpr int kWarpgroup = 128;  // of a warpgroup
constexpr int kConsumers = 2;    // warpgroups that multiply, 64 of the 128 pairs each; one more copies
constexpr int kStages = 2;
constexpr int kConsumerWarps = 4 * kConsumers;

template <int kDim>
struct PrefillShared {
  uint8_t q[kTileBytes<kDim>];
  uint8_t k[kStages][kTileBytes<kDim>];
  uint8_t v[kStages][kTileBytes<kDim>];
  float total[kDim / 2][kConsumers * kWarpgroup];  // o of the groups merged so far, by thread
  uint64_t k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
};

// The copying thread: keys and values of tile after tile, in pieces of a page's 64-column blocks.
template <int kDim>
__device__ void copy_tiles(PrefillShared<kDim>& shared, const AttendArgs& args, int sequence, int kv_head,
                           int num_tiles) {
  const KvLayout& kv = args.kv;
  const int32_t* pages = args.page_table + int64_t{sequence} * args.max_pages;
  const int tile_pages = kTile / kv.page_size;
  for (int t = 0; t < num_tiles; ++t) {
    const int stage = t % kStages;
    const uint32_t parity = t / kStages % 2;
    const auto copy = [&](uint8_t* to, bool values, uint64_t& full, uint64_t& empty) {
      barrier_wait(shared_address(&empty), parity ^ 1);
      barrier_expect_bytes(shared_address(&full), kTileBytes<kDim>);
      for (int i = 0; i < tile_pages; ++i) {
        const int64_t page = pages[min(t * tile_pages + i, args.max_pages - 1)];
        const bfloat* from =
            static_cast<const bfloat*>(kv.data) + (values ? kv.values(page, kv_head) : kv.keys(page, kv_head));
        for (int block = 0; block < kDim / 64; ++block)
          copy_bulk(shared_address(to) + block * kTileBlockBytes + i * kv.page_size * 128,
                    from + block * kv.page_size * 64, kv.page_size * 128, shared_address(&full));
      }
    };
    copy(shared.k[stage], false, shared.k_full[stage], shared.k_empty[stage]);
    copy(shared.v[stage], true, shared.v_full[stage], shared.v_empty[stage]);
  }
}

// The warpgroup's scores: s = q k^T, q its 64 pairs.
template <int kDim>
__device__ __forceinline__ void begin_scores(float (&s)[kTile / 2], uint32_t q, uint32_t k) {
  const uint64_t a = atom_descriptor(q), b = atom_descriptor(k);
  wgmma_fence();
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
    const uint64_t at = descriptor_step(d / 4 * kTileBlockBytes + d % 4 * 32);
    wgmma(s, a + at, b + at, d > 0);
  }
  wgmma_commit();
}

// Its outputs of a tile: o = p v.
template <int kDim>
__device__ __forceinline__ void begin_outputs(float (&o)[kDim / 2], const uint32_t (&p)[kTile / 4], uint32_t v) {
  const uint64_t b = atom_descriptor(v, kTileBlockBytes);
  wgmma_fence();
#pragma unroll
  for (int key = 0; key < kTile / 16; ++key) wgmma(o, p + 4 * key, b + descriptor_step(key * 2 * kAtomBytes), key > 0);
  wgmma_commit();
}

// total += group; the total's o comes from shared memory and ends in group.o.
template <int kDim>
__device__ __forceinline__ void merge_to_total(const PrefillShared<kDim>& shared, PartScalars& total,
                                               Part<kDim / 2>& group, bool is_first, float scale) {
  const MergeFactors f[2] = {total.merge(group, 0, scale), total.merge(group, 1, scale)};
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i)
    group.o[i] = merged(is_first ? 0.0f : shared.total[i][threadIdx.x], group.o[i], f[i / 2 % 2]);
}

// The 16 pairs of a warp once more, as e4m3: a head of a row is a block of 128 columns.
__device__ __forceinline__ void store_rounded(const Queries& queries, const float (&o)[64], const float (&l)[2],
                                              const int (&pairs)[2], int lane, const Fp8Rows& to) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = pairs[r] / queries.group, head = queries.kv_head * queries.group + pairs[r] % queries.group;
    const bool there = row < queries.num_rows;
    const int64_t t = queries.first_row + row;
    const float factor = inverse(l[r]);
    uint32_t values[16];
#pragma unroll
    for (int n = 0; n < 16; ++n)
      values[n] = pack_bf16(__fmul_rn(o[4 * n + 2 * r], factor), __fmul_rn(o[4 * n + 2 * r + 1], factor));
    const Fp8Scale scale = scale_of_pairs(values);
    if (there && lane % 4 == 0) to.scales[head * to.scale_stride + t] = scale.scale;
    char* const out = static_cast<char*>(to.data) + t * to.padded_cols + head * kFp8AtomCols + lane % 4 / 2 * 4;
    const bool odd = lane % 2 != 0;
    // Of two blocks of eight columns an even lane stores four columns of the first, an odd one of the second.
#pragma unroll
    for (int n = 0; n < 16; n += 2) {
      const uint32_t first = round_pair(values[n], scale.inverse), second = round_pair(values[n + 1], scale.inverse);
      const uint32_t other = __shfl_xor_sync(~0u, odd ? first : second, 1);
      if (there)
        *reinterpret_cast<uint32_t*>(out + (odd ? n + 1 : n) * 8) = odd ? other | second << 16 : first | other << 16;
    }
  }
}

// attend_prefill: causal attention of a tile of queries over their sequence's pages, for sm_90a.
// q [T, H, padded_dim] bf16, pages bf16, out [T, ld_out] bf16
// 4 D flops per query and key it sees, bound by the tensor cores, then by the exponentials: of two warpgroups one
// multiplies while the other is at its softmax; a group's o is in registers, the total, touched every eighth tile, is
// in shared memory; the merge of a tile runs beside the next tile's scores
// Tried and no faster: named barriers that make the warpgroups take turns, products kept clear of all other
// instructions, outputs in two halves so that a tile's scores and softmax run beside the last one's outputs.
// reference: ops/reference.cpp attend, bit-equal to attend_decode    test, bench: bench/cuda/bench_attention.cu
template <int kDim, bool kRounds>
__global__ void __launch_bounds__(kWarpgroup * (1 + kConsumers), 1)
    attend_prefill_kernel(AttendArgs args, const Fp8Rows rounded, const QueryTile* tiles, float scale) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<PrefillShared<kDim>*>(shared_bytes);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(shared_address(&shared.k_full[i]), 1);
      barrier_init(shared_address(&shared.v_full[i]), 1);
      barrier_init(shared_address(&shared.k_empty[i]), kConsumerWarps);
      barrier_init(shared_address(&shared.v_empty[i]), kConsumerWarps);
    }
    barrier_init_fence();
  }
  __syncthreads();
  let_next_kernel_start();
  wait_for_previous_kernel();
  const QueryTile tile = tiles[blockIdx.y];
  if (tile.sequence < 0) return;
  const Queries queries(args, tile, blockIdx.x);
  const int num_tiles = queries.num_key_tiles();

  if (threadIdx.x >= kConsumers * kWarpgroup) {
    give_registers<24>();
    if (threadIdx.x == kConsumers * kWarpgroup)
      copy_tiles<kDim>(shared, args, tile.sequence, queries.kv_head, num_tiles);
    return;
  }
  take_registers<240>();
  const int warpgroup = __shfl_sync(kAllLanes, threadIdx.x / kWarpgroup, 0);  // known to be uniform
  const int lane = threadIdx.x % 32;
  queries.load<kDim>(shared.q, threadIdx.x % kWarpgroup, kWarpgroup, warpgroup * 64, 64);
  fence_async_proxy();
  sync_threads<kWarpgroup>(1 + warpgroup);

  const int first_pair = threadIdx.x / 32 * 16 + lane / 4;
  const int pairs[2] = {first_pair, first_pair + 8};
  const int positions[2] = {queries.position(pairs[0]), queries.position(pairs[1])};
  const int first_position = queries.first_position();
  const uint32_t q = shared_address(shared.q) + warpgroup * 64 * 128;
  const auto await = [&](uint64_t(&full)[kStages], int t) {
    barrier_wait(shared_address(&full[t % kStages]), t / kStages % 2);
  };
  const auto release = [&](uint64_t(&empty)[kStages], int t) {
    if (lane == 0) barrier_arrive(shared_address(&empty[t % kStages]));
  };

  float scores[kTile / 2], o[kDim / 2];
  Part<kDim / 2> group;
  PartScalars total;
  MergeFactors f[2];
  await(shared.k_full, 0);
  begin_scores<kDim>(scores, q, shared_address(shared.k[0]));
  for (int t = 0;; ++t) {
    wgmma_wait<0>(scores);
    release(shared.k_empty, t);
    if (t * kTile + kTile - 1 > first_position) mask_scores(scores, t * kTile, positions, lane);
    PartScalars part;
    row_maxima(scores, part.m);
    uint32_t p[kTile / 4];
    probabilities(scores, part.m, scale, p);

    await(shared.v_full, t);
    begin_outputs<kDim>(o, p, shared_address(shared.v[t % kStages]));
    RowSums sums;
#pragma unroll
    for (int key = 0; key < kTile / 16; ++key) sums.add(*reinterpret_cast<const uint32_t(*)[4]>(p + 4 * key));
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      part.l[r] = sums.of_row(r);
      f[r] = group.PartScalars::merge(part, r, scale);
    }
    wgmma_wait<0>(o);
    release(shared.v_empty, t);
    if (t + 1 == num_tiles) break;

    await(shared.k_full, t + 1);
    begin_scores<kDim>(scores, q, shared_address(shared.k[(t + 1) % kStages]));
    group.merge_outputs(o, f);
    if (t % kGroup == kGroup - 1) {
      merge_to_total(shared, total, group, t < kGroup, scale);
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) shared.total[i][threadIdx.x] = group.o[i];
      group = {};
    }
  }
  group.merge_outputs(o, f);
  merge_to_total(shared, total, group, num_tiles <= kGroup, scale);
  queries.store(group.o, total.l, pairs, lane);
  if constexpr (kRounds) store_rounded(queries, group.o, total.l, pairs, lane, rounded);
}

template <int kDim, bool kRounds = false>
cudaError_t launch_prefill(const AttendArgs& args, const Fp8Rows& rounded, const QueryTile* tiles, int32_t num_tiles,
                           cudaStream_t stream) {
  if (num_tiles == 0) return cudaSuccess;
  constexpr size_t kBytes = sizeof(PrefillShared<kDim>);
  static const cudaError_t allowed = allow_shared(attend_prefill_kernel<kDim, kRounds>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  return launch(attend_prefill_kernel<kDim, kRounds>, dim3(args.num_kv_heads, num_tiles),
                dim3(kWarpgroup * (1 + kConsumers)), kBytes, stream, args, rounded, tiles, score_scale(args.head_dim));
}

}  // namespace

cudaError_t attend_prefill(const AttendArgs& args, const QueryTile* tiles, int32_t num_tiles, cudaStream_t stream) {
  return args.kv.padded_dim == 64 ? launch_prefill<64>(args, {}, tiles, num_tiles, stream)
                                  : launch_prefill<128>(args, {}, tiles, num_tiles, stream);
}

cudaError_t attend_prefill_to_fp8(const AttendArgs& args, const Fp8Rows& rounded, const QueryTile* tiles,
                                  int32_t num_tiles, cudaStream_t stream) {
  if (args.head_dim != kFp8AtomCols) return cudaErrorInvalidValue;
  return launch_prefill<128, true>(args, rounded, tiles, num_tiles, stream);
}

}  // namespace qwill::cuda
