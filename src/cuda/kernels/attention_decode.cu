#include "cuda/kernels/attention_common.cuh"
#include "cuda/kernels/launch.cuh"

namespace qwill::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kRows = 16;       // of the first operand of mma.sync: the heads of a group
constexpr int kStages = 3;      // of the ring, each a tile's keys or its values
constexpr int kWarpKeys = kTile / kWarps;  // a warp scores these, and sums kDim / kWarps dimensions over all keys

template <int kDim>
struct DecodeShared {
  uint8_t ring[kStages][kTileBytes<kDim>];
  uint8_t q[kDim / 64][kRows * 128];   // rows swizzled as in an atom, like all below
  uint8_t p[kTile / 64][kRows * 128];
  bfloat fresh[2][kDim];               // this step's key and value
  float maxima[kWarps][kRows];
  uint64_t full[kStages];
  uint32_t is_last;
};

// Partial results in global memory: [sequence][kv head][part][row of the group], first the scalars of all, then o.
struct PartialView {
  float2* scalars;  // (m, l)
  float* o;

  __device__ PartialView(const DecodePlan& plan, int num_kv_heads, int group, int max_parts, int64_t pair, int dim) {
    const int64_t all = int64_t{plan.num_sequences} * num_kv_heads * max_parts * group;
    const int64_t first = pair * max_parts * group;
    scalars = reinterpret_cast<float2*>(plan.partials) + first;
    o = plan.partials + 2 * all + first * dim;
  }
};

// The last block of a (sequence, kv head) merges its parts: a warp a row, a lane kDim / 32 dimensions.
template <int kDim>
__device__ void merge_parts(const PartialView& partial, int num_parts, int parts_per_group, int group, int head_dim,
                            float scale, bfloat* out) {
  constexpr int kLaneDims = kDim / 32;
  constexpr int kAhead = 8;  // parts that are read at once
  const int lane = threadIdx.x % 32;
  for (int row = threadIdx.x / 32; row < group; row += kWarps) {
    struct {
      float m = kNoScore, l = 0, o[kLaneDims] = {};
      __device__ void merge(float m_b, float l_b, const float* o_b, float scale) {
        const MergeFactors f = merge_factors(m, m_b, scale);
        m = f.m;
        l = merged(l, l_b, f);
#pragma unroll
        for (int i = 0; i < kLaneDims; ++i) o[i] = merged(o[i], o_b[i], f);
      }
    } part, total;
    for (int first = 0; first < num_parts; first += kAhead) {
      float2 scalars[kAhead];
      float o[kAhead][kLaneDims];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int64_t at = int64_t{min(first + i, num_parts - 1)} * group + row;
        scalars[i] = __ldcg(partial.scalars + at);
        const float* from = partial.o + at * kDim + lane * kLaneDims;
        if constexpr (kLaneDims == 4) {
          const float4 four = __ldcg(reinterpret_cast<const float4*>(from));
          o[i][0] = four.x, o[i][1] = four.y, o[i][2] = four.z, o[i][3] = four.w;
        } else {
          const float2 two = __ldcg(reinterpret_cast<const float2*>(from));
          o[i][0] = two.x, o[i][1] = two.y;
        }
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i >= num_parts) break;
        part.merge(scalars[i].x, scalars[i].y, o[i], scale);
        if ((first + i + 1) % parts_per_group == 0 || first + i + 1 == num_parts) {
          total.merge(part.m, part.l, part.o, scale);
          part = {};
        }
      }
    }
    const float factor = inverse(total.l);
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i)
      if (const int d = lane * kLaneDims + i; d < head_dim)
        out[row * head_dim + d] = __float2bfloat16_rn(__fmul_rn(total.o[i], factor));
  }
}

// attend_decode: everything of `attend` for sequences with one row: norm and rotation of the group's queries and of the
// key, key and value to the row's slot, attention over the sequence's pages, merge of the parts.
// qkv [T, (H + 2 KV) D] f32, pages bf16, out [T, ld_out] bf16; parts in f32
// moves S KV (context 2 D 2 + parts group (D + 2) 8) bytes; memory-bound (latency-bound for few tiles): a block takes
// tiles_per_block consecutive tiles of one (sequence, kv head), whose loads all but fill the ring before the queries are
// ready; a block alone writes the result, else the last to finish merges: counters order nothing but who that is
// reference: ops/reference.cpp attend, bit-equal to attend_prefill    test, bench: bench/cuda/bench_attention.cu
template <int kDim>
__global__ void __launch_bounds__(32 * kWarps, 2) attend_decode_kernel(AttendArgs args, DecodePlan plan, float scale) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<DecodeShared<kDim>*>(shared_bytes);
  constexpr int kBlocks = kDim / 64;
  constexpr int kWarpDims = kDim / kWarps;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t ring = shared_address(shared.ring), full = shared_address(shared.full);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) barrier_init(full + 8 * i, 1);
    barrier_init_fence();
  }
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(shared.q)) / 16; i += 32 * kWarps)
    reinterpret_cast<uint4*>(shared.q)[i] = {};
  __syncthreads();
  let_next_kernel_start();
  wait_for_previous_kernel();

  // Page ids are asked for before it is known how many of them are in use: every entry names some page.
  const int sequence = plan.sequences == nullptr ? static_cast<int>(blockIdx.z) : plan.sequences[blockIdx.z];
  if (sequence < 0) return;
  const KvLayout& kv = args.kv;
  const int kv_head = blockIdx.y, first_tile = blockIdx.x * plan.tiles_per_block;
  const int tile_pages = kTile / kv.page_size;
  const int page = lane < plan.tiles_per_block * tile_pages
                       ? args.page_table[int64_t{sequence} * args.max_pages +
                                         min(first_tile * tile_pages + lane, args.max_pages - 1)]
                       : 0;
  const int num_keys = args.seq_lens[sequence];
  const int row = args.row_begin[sequence];
  const int num_tiles = (num_keys + kTile - 1) / kTile;
  const int count = min(plan.tiles_per_block, num_tiles - first_tile);
  if (count <= 0) return;

  // Load i is the keys (even) or values (odd) of tile i / 2, in pieces of a page's 64-column blocks.
  const bfloat* pages = static_cast<const bfloat*>(kv.data);
  const auto load = [&](int i) {
    if (warp != 0 || i >= 2 * count) return;
    const uint32_t barrier = full + i % kStages * 8;
    if (lane == 0) barrier_expect_bytes(barrier, kTileBytes<kDim>);
    __syncwarp();
    const int page_idx = lane / kBlocks, block = lane % kBlocks;
    const int id = __shfl_sync(kAllLanes, page, i / 2 * tile_pages + page_idx);
    if (page_idx < tile_pages)
      copy_bulk(ring + i % kStages * kTileBytes<kDim> + block * kTileBlockBytes + page_idx * kv.page_size * 128,
                pages + (i % 2 == 0 ? kv.keys(id, kv_head) : kv.values(id, kv_head)) + block * kv.page_size * 64,
                kv.page_size * 128, barrier);
  };
#pragma unroll
  for (int i = 0; i < kStages; ++i) load(i);

  // Queries of the group, and in the block with the last tile the new key and value.
  const int group = args.group(), dim = args.head_dim, half = dim / 2;
  const int32_t slot = args.slots[row];
  const bool stores = first_tile + count == num_tiles && slot >= 0;
  for (int i = warp; i < group + (stores ? 2 : 0); i += kWarps) {
    const int head = i < group ? kv_head * group + i : args.num_heads + (i - group) * args.num_kv_heads + kv_head;
    Head x = load_head(args.qkv + row * args.ld_qkv + int64_t{head} * dim, half, lane);
    if (i <= group)
      norm_and_rotate(x, i < group ? args.q_norm : args.k_norm, args.norm_eps, args.cos + int64_t{row} * half,
                      args.sin + int64_t{row} * half, half, lane);
    if (i < group) {
      store_head(x, half, lane, [&](int d, float value) {
        *reinterpret_cast<bfloat*>(shared.q[d / 64] + swizzled(i, d % 64 / 8) + d % 8 * 2) = __float2bfloat16_rn(value);
      });
    } else {
      const int64_t page_of_slot = slot / kv.page_size, entry = slot % kv.page_size;
      bfloat* block = static_cast<bfloat*>(kv.data) +
                      (i == group ? kv.keys(page_of_slot, kv_head) : kv.values(page_of_slot, kv_head));
      bfloat* fresh = shared.fresh[i - group];
      clear_padding(fresh, dim, kDim, lane);
      store_head(x, half, lane, [&](int d, float value) {
        fresh[d] = block[kv.in_block(entry, d)] = __float2bfloat16_rn(value);
      });
    }
  }
  __syncthreads();

  uint32_t q[kDim / 16][4];
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k)
    load_matrices(q[k], shared_address(shared.q[k / 4]) + swizzled(lane % 16, k % 4 * 2 + lane / 16));

  // The loaded tile lacks the new key and value: chunks first … first + count - 1 of its row are put in place by the
  // warp that reads them.
  const int fresh_key = (num_keys - 1) % kTile;
  const auto patch = [&](uint32_t stage, int which, int first_chunk, int num_chunks) {
    if (lane < num_chunks) {
      const int chunk = first_chunk + lane;
      const uint4 value = reinterpret_cast<const uint4*>(shared.fresh[which])[chunk];
      store_16(stage + chunk / 8 * kTileBlockBytes + swizzled(fresh_key, chunk % 8), value);
    }
    __syncwarp();
  };

  const int max_parts = plan.tiles_per_block == kGroup ? (plan.max_tiles + kGroup - 1) / kGroup : plan.max_tiles;
  const int64_t pair = int64_t{blockIdx.z} * args.num_kv_heads + kv_head;
  const PartialView partial(plan, args.num_kv_heads, group, max_parts, pair, kDim);
  const int num_parts = plan.tiles_per_block == kGroup ? (num_tiles + kGroup - 1) / kGroup : num_tiles;
  bfloat* out = static_cast<bfloat*>(args.out) + row * args.ld_out + int64_t{kv_head} * group * dim;

  // A part: this thread's share of it goes to where the merge finds it, or is the result if there is no other.
  const auto finish = [&](const Part<kWarpDims / 2>& part, int idx) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int group_row = lane / 4 + 8 * r;
      if (group_row >= group) continue;
      const int first_dim = warp * kWarpDims + lane % 4 * 2;
      if (num_parts == 1) {
        const float factor = inverse(part.l[r]);
#pragma unroll
        for (int i = 2 * r; i < kWarpDims / 2; i += 4)
          if (const int d = first_dim + i / 4 * 8; d < dim)
            *reinterpret_cast<uint32_t*>(out + group_row * dim + d) =
                pack_bf16(__fmul_rn(part.o[i], factor), __fmul_rn(part.o[i + 1], factor));
      } else {
        const int64_t at = int64_t{idx} * group + group_row;
        if (warp == 0 && lane % 4 == 0) partial.scalars[at] = {part.m[r], part.l[r]};
#pragma unroll
        for (int i = 2 * r; i < kWarpDims / 2; i += 4)
          *reinterpret_cast<float2*>(partial.o + at * kDim + first_dim + i / 4 * 8) = {part.o[i], part.o[i + 1]};
      }
    }
  };

  Part<kWarpDims / 2> sum;
  for (int i = 0; i < count; ++i) {
    const bool has_fresh = stores && i == count - 1;
    const uint32_t keys = ring + 2 * i % kStages * kTileBytes<kDim>;
    barrier_wait(full + 2 * i % kStages * 8, 2 * i / kStages % 2);
    if (has_fresh && fresh_key / kWarpKeys == warp) patch(keys, 0, 0, kDim / 8);
    float scores[kWarpKeys / 2] = {};
#pragma unroll
    for (int k = 0; k < kDim / 16; k += 2)
#pragma unroll
      for (int n = 0; n < kWarpKeys / 8; ++n) {
        uint32_t b[4];
        load_matrices(b, keys + k / 4 * kTileBlockBytes + swizzled(warp * kWarpKeys + n * 8 + lane % 8, k % 4 * 2 + lane / 8));
        float(&d)[4] = *reinterpret_cast<float(*)[4]>(scores + 4 * n);
        mma_16x8x16(d, q[k], b[0], b[1]);
        mma_16x8x16(d, q[k + 1], b[2], b[3]);
      }
    const int first_key = (first_tile + i) * kTile + warp * kWarpKeys;
    mask_scores(scores, first_key, {num_keys - 1, num_keys - 1}, lane);
    Part<kWarpDims / 2> tile;
    row_maxima(scores, tile.m);
    if (lane % 4 == 0) {
      shared.maxima[warp][lane / 4] = tile.m[0];
      shared.maxima[warp][lane / 4 + 8] = tile.m[1];
    }
    __syncthreads();  // maxima are there; these keys and the last tile's values have been read by all
    if (i > 0) load(2 * i - 1 + kStages);
    load(2 * i + kStages);
#pragma unroll
    for (int w = 0; w < kWarps; ++w)
#pragma unroll
      for (int r = 0; r < 2; ++r) tile.m[r] = fmaxf(tile.m[r], shared.maxima[w][lane / 4 + 8 * r]);
    uint32_t own[kWarpKeys / 4];
    probabilities(scores, tile.m, scale, own);
#pragma unroll
    for (int j = 0; j < kWarpKeys / 4; ++j) {
      const int chunk = warp * (kWarpKeys / 8) + j / 2;
      *reinterpret_cast<uint32_t*>(shared.p[chunk / 8] + swizzled(lane / 4 + j % 2 * 8, chunk % 8) + lane % 4 * 4) = own[j];
    }
    __syncthreads();  // probabilities are there
    const uint32_t values = ring + (2 * i + 1) % kStages * kTileBytes<kDim>;
    barrier_wait(full + (2 * i + 1) % kStages * 8, (2 * i + 1) / kStages % 2);
    if (has_fresh) patch(values, 1, warp * (kWarpDims / 8), kWarpDims / 8);
    RowSums sums;
#pragma unroll
    for (int k = 0; k < kTile / 16; ++k) {
      uint32_t p[4];
      load_matrices(p, shared_address(shared.p[k / 4]) + swizzled(lane % 16, k % 4 * 2 + lane / 16));
      sums.add(p);
#pragma unroll
      for (int n = 0; n < kWarpDims / 8; n += 2) {
        const int chunk = warp * (kWarpDims / 8) + n + lane / 16;
        uint32_t b[4];
        load_matrices_transposed(b, values + chunk / 8 * kTileBlockBytes + swizzled(k * 16 + lane % 16, chunk % 8));
        mma_16x8x16(*reinterpret_cast<float(*)[4]>(tile.o + 4 * n), p, b[0], b[1]);
        mma_16x8x16(*reinterpret_cast<float(*)[4]>(tile.o + 4 * n + 4), p, b[2], b[3]);
      }
    }
    tile.l[0] = sums.of_row(0);
    tile.l[1] = sums.of_row(1);
    if (plan.tiles_per_block == kGroup) sum.merge(tile, scale);
    else finish(tile, first_tile + i);
  }
  if (plan.tiles_per_block == kGroup) finish(sum, static_cast<int>(blockIdx.x));

  if (num_parts > 1) {
    const uint32_t num_blocks = (num_tiles + plan.tiles_per_block - 1) / plan.tiles_per_block;
    if (num_blocks > 1) {
      __threadfence();
      __syncthreads();
      if (threadIdx.x == 0) {
        shared.is_last = atomicAdd(plan.counters + pair, 1) == num_blocks - 1;
        if (shared.is_last) plan.counters[pair] = 0;
        __threadfence();
      }
    } else if (threadIdx.x == 0) {
      shared.is_last = 1;
    }
    __syncthreads();
    if (!shared.is_last) return;
    merge_parts<kDim>(partial, num_parts, plan.tiles_per_block == kGroup ? 1 : kGroup, group, dim, scale, out);
  }
  if (kv_head == args.num_kv_heads - 1 && warp == 0)
    clear_padding(out - int64_t{kv_head} * group * dim, int64_t{args.num_heads} * dim, args.ld_out, lane);
}

template <int kDim>
cudaError_t launch_decode(const AttendArgs& args, const DecodePlan& plan, cudaStream_t stream) {
  constexpr size_t kBytes = sizeof(DecodeShared<kDim>);
  static const cudaError_t allowed = allow_shared(attend_decode_kernel<kDim>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const dim3 grid((plan.max_tiles + plan.tiles_per_block - 1) / plan.tiles_per_block, args.num_kv_heads,
                  plan.num_sequences);
  return launch(attend_decode_kernel<kDim>, grid, dim3(32 * kWarps), kBytes, stream, args, plan,
                score_scale(args.head_dim));
}

}  // namespace

cudaError_t attend_decode(const AttendArgs& args, const DecodePlan& plan, cudaStream_t stream) {
  if (plan.num_sequences == 0) return cudaSuccess;
  return args.kv.padded_dim == 64 ? launch_decode<64>(args, plan, stream) : launch_decode<128>(args, plan, stream);
}

}  // namespace qwill::cuda
