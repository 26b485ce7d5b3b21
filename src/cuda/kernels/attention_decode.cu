#include "cuda/kernels/attention_common.cuh"
#include "cuda/kernels/launch.cuh"

namespace qwill::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kRows = 16;                  // of the first operand of mma.sync: the heads of a group
constexpr int kWarpKeys = kTile / kWarps;  // a warp scores these, and sums kDim / kWarps dimensions over all keys

template <int kDim>
struct DecodeShared {
  uint8_t keys[kTileBytes<kDim>];
  uint8_t values[kTileBytes<kDim>];
  uint8_t q[kDim / 64][kRows * 128];  // rows swizzled as in an atom
  uint8_t p[kTile / 64][kRows * 128];
  bfloat fresh[2][kDim];  // this step's key and value
  float maxima[kRows][kWarps];
  uint64_t keys_full, values_full;
  uint32_t is_last;
};

__device__ __forceinline__ Head select(bool first, const Head& a, const Head& b) {
  Head head;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    head.low[j] = first ? a.low[j] : b.low[j];
    head.high[j] = first ? a.high[j] : b.high[j];
  }
  return head;
}

// One row of a part in a warp: lane l has dimensions kDim / 32 l and on.
template <int kDim>
struct RowPart {
  static constexpr int kLaneDims = kDim / 32;
  float m = kNoScore, l = 0;
  float o[kLaneDims] = {};

  __device__ __forceinline__ void merge(const RowPart& b, float scale) {
    const MergeFactors f = merge_factors(m, b.m, scale);
    m = f.m;
    l = merged(l, b.l, f);
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) o[i] = merged(o[i], b.o[i], f);
  }
  // Rows as part_row_floats lays them; `read` loads from global or from shared memory.
  template <typename Read>
  __device__ __forceinline__ void load(const float* row, int lane, Read read) {
#pragma unroll
    for (int i = 0; i < kLaneDims; i += 2) {
      const float2 two = read(reinterpret_cast<const float2*>(row + lane * kLaneDims + i));
      o[i] = two.x, o[i + 1] = two.y;
    }
    const float2 scalars = read(reinterpret_cast<const float2*>(row + kDim));
    m = scalars.x, l = scalars.y;
  }
  __device__ __forceinline__ void store(float* row, int lane) const {
#pragma unroll
    for (int i = 0; i < kLaneDims; i += 2) *reinterpret_cast<float2*>(row + lane * kLaneDims + i) = {o[i], o[i + 1]};
    if (lane == 0) *reinterpret_cast<float2*>(row + kDim) = {m, l};
  }
  __device__ __forceinline__ void store_result(bfloat* out, int head_dim, int lane) const {
    const float factor = inverse(l);
#pragma unroll
    for (int i = 0; i < kLaneDims; i += 2)
      if (const int d = lane * kLaneDims + i; d < head_dim)
        *reinterpret_cast<uint32_t*>(out + d) = pack_bf16(__fmul_rn(o[i], factor), __fmul_rn(o[i + 1], factor));
  }
};

// Parts first, first + stride, … merged in order, eight being read at a time.
template <int kDim, typename Read>
__device__ __forceinline__ RowPart<kDim> merge_rows(const float* first, int64_t stride, int count, float scale,
                                                    int lane, Read read) {
  constexpr int kAhead = 8;
  RowPart<kDim> sum;
  for (int begin = 0; begin < count; begin += kAhead) {
    RowPart<kDim> parts[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (begin + i < count) parts[i].load(first + (begin + i) * stride, lane, read);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) sum.merge(parts[i], scale);  // those beyond the last are without keys
  }
  return sum;
}

// attend_decode: everything of `attend` for sequences with one row: norm and rotation of the group's queries and of the
// key, key and value to the row's slot, attention over the sequence's pages, merge of the parts.
// qkv [T, (H + 2 KV) D] f32, pages bf16, out [T, ld_out] bf16; parts in f32
// moves S KV (context 2 D 2 + groups of tiles * group of heads (D + 8) 8) bytes; memory-bound, latency-bound for few
// tiles A cluster takes a group of tiles of one (sequence, kv head), a block tiles_per_block of them; the first block
// merges what all have stored into its shared memory. Of several groups the last to finish merges: the counters order
// nothing but who that is. A tile's keys and values are copied while the last ones are multiplied, the first before the
// queries are ready: the block that holds the new key and value puts them in place itself.
// reference: ops/reference.cpp attend, bit-equal to attend_prefill    test, bench: bench/cuda/bench_attention.cu
template <int kDim>
__global__ void __launch_bounds__(32 * kWarps, 2)
    attend_decode_kernel(AttendArgs args, DecodePlan plan, int blocks_per_group, float scale) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<DecodeShared<kDim>*>(shared_bytes);
  constexpr int kBlocks = kDim / 64;
  constexpr int kWarpDims = kDim / kWarps;
  constexpr int kRowFloats = part_row_floats(kDim);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, half = args.head_dim / 2;
  const KvLayout& kv = args.kv;
  const int kv_head = blockIdx.y, tile_pages = kTile / kv.page_size;
  const int group_idx = blockIdx.x / blocks_per_group, rank = blockIdx.x % blocks_per_group;
  const int first_tile = group_idx * kGroup + rank * plan.tiles_per_block;

  if (threadIdx.x == 0) {
    barrier_init(shared_address(&shared.keys_full), 1);
    barrier_init(shared_address(&shared.values_full), 1);
    barrier_init_fence();
  }
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(shared.q)) / 16; i += 32 * kWarps)
    reinterpret_cast<uint4*>(shared.q)[i] = {};
  const Head q_norm = load_head(args.q_norm, half, lane), k_norm = load_head(args.k_norm, half, lane);
  if (threadIdx.x == 32) {
    // What the step's arrays hold is not to be read yet, but may come nearer: weights have driven it out of the L2.
    const int64_t i = blockIdx.z;
    if (plan.sequences != nullptr) prefetch_line(plan.sequences + i);
    prefetch_line(args.seq_lens + i);
    prefetch_line(args.row_begin + i);
    prefetch_line(args.slots + i);
    prefetch_line(args.page_table + i * args.max_pages + min(first_tile * tile_pages, args.max_pages - 1));
    prefetch_line(args.cos + i * half);
    prefetch_line(args.sin + i * half);
  }
  __syncthreads();
  arrive_at_cluster();
  let_next_kernel_start();
  wait_for_previous_kernel();

  // Page ids are asked for before it is known how many of them are in use: every entry names some page.
  const int sequence = plan.sequences == nullptr ? static_cast<int>(blockIdx.z) : plan.sequences[blockIdx.z];
  if (sequence < 0) return;
  const int page = lane < plan.tiles_per_block * tile_pages
                       ? args.page_table[int64_t{sequence} * args.max_pages +
                                         min(first_tile * tile_pages + lane, args.max_pages - 1)]
                       : 0;
  const int num_keys = args.seq_lens[sequence];
  const int64_t row = args.row_begin[sequence];
  const int num_tiles = (num_keys + kTile - 1) / kTile;
  const int count = min(plan.tiles_per_block, num_tiles - first_tile);
  if (count <= 0) return;

  // A tile's keys or values, in pieces of a page's 64-column blocks, a warp each.
  const auto copy = [&](int tile, bool values) {
    const int page_idx = warp / kBlocks, block = warp % kBlocks;
    const int id = __shfl_sync(kAllLanes, page, tile * tile_pages + page_idx);
    if (lane != 0 || page_idx >= tile_pages || tile >= count) return;
    const uint32_t barrier = shared_address(values ? &shared.values_full : &shared.keys_full);
    if (warp == 0) barrier_expect_bytes(barrier, kTileBytes<kDim>);
    copy_bulk(
        shared_address(values ? shared.values : shared.keys) + block * kTileBlockBytes + page_idx * kv.page_size * 128,
        static_cast<const bfloat*>(kv.data) + (values ? kv.values(id, kv_head) : kv.keys(id, kv_head)) +
            block * kv.page_size * 64,
        kv.page_size * 128, barrier);
  };
  copy(0, false);
  copy(0, true);

  // Queries of the group, and in the block with the last tile the new key and value.
  const int group = args.group(), dim = args.head_dim;
  const int32_t slot = args.slots[row];
  const bool is_newest = first_tile + count == num_tiles;
  const Rotation rotation = load_rotation(args.cos + row * half, args.sin + row * half, half, lane);
  for (int i = warp; i < group + (is_newest ? 2 : 0); i += kWarps) {
    const int head = i < group ? kv_head * group + i : args.num_heads + (i - group) * args.num_kv_heads + kv_head;
    Head x = load_head(args.qkv + row * args.ld_qkv + int64_t{head} * dim, half, lane);
    if (i <= group) norm_and_rotate(x, select(i < group, q_norm, k_norm), args.norm_eps, rotation, dim);
    if (i < group) {
      store_head(x, half, lane, [&](int d, float value) {
        *reinterpret_cast<bfloat*>(shared.q[d / 64] + swizzled(i, d % 64 / 8) + d % 8 * 2) = __float2bfloat16_rn(value);
      });
    } else {
      bfloat* fresh = shared.fresh[i - group];
      clear_padding(fresh, dim, kDim, lane);
      store_head(x, half, lane, [&](int d, float value) { fresh[d] = __float2bfloat16_rn(value); });
      if (slot >= 0) {
        const int64_t page_of_slot = slot / kv.page_size, entry = slot % kv.page_size;
        bfloat* block = static_cast<bfloat*>(kv.data) +
                        (i == group ? kv.keys(page_of_slot, kv_head) : kv.values(page_of_slot, kv_head));
        store_head(x, half, lane,
                   [&](int d, float value) { block[kv.in_block(entry, d)] = __float2bfloat16_rn(value); });
      }
    }
  }
  __syncthreads();
  uint32_t q[kDim / 16][4];
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k)
    load_matrices(q[k], shared_address(shared.q[k / 4]) + swizzled(lane % 16, k % 4 * 2 + lane / 16));

  // The copied tile lacks the new key and value: chunks of its row are put in place by the warp that reads them.
  const int fresh_key = (num_keys - 1) % kTile;
  const auto patch = [&](uint8_t* tile, const bfloat* fresh, int first_chunk, int num_chunks) {
    if (lane < num_chunks) {
      const int chunk = first_chunk + lane;
      *reinterpret_cast<uint4*>(tile + chunk / 8 * kTileBlockBytes + swizzled(fresh_key, chunk % 8)) =
          reinterpret_cast<const uint4*>(fresh)[chunk];
    }
    __syncwarp();
  };

  // Parts go to the first block's shared memory: behind everything else, or, when a group has one block and so one
  // part, to where its keys were.
  const bool whole_group = plan.tiles_per_block == kGroup;
  float* parts = reinterpret_cast<float*>(whole_group ? shared.keys : shared_bytes + sizeof(shared));
  wait_for_cluster();
  const auto hand_over = [&](const Part<kWarpDims / 2>& part, int idx) {
    const uint32_t there = address_in_first_block(shared_address(parts));
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int group_row = lane / 4 + 8 * r;
      if (group_row >= group) continue;
      const uint32_t to = there + (idx * group + group_row) * kRowFloats * 4;
      if (warp == 0 && lane % 4 == 0) store_in_cluster(to + kDim * 4, part.m[r], part.l[r]);
#pragma unroll
      for (int i = 2 * r; i < kWarpDims / 2; i += 4)
        store_in_cluster(to + (warp * kWarpDims + i / 4 * 8 + lane % 4 * 2) * 4, part.o[i], part.o[i + 1]);
    }
    __syncwarp();  // rows beyond the group have left the loop
  };

  Part<kWarpDims / 2> sum;
  const uint32_t keys = shared_address(shared.keys), values = shared_address(shared.values);
  for (int i = 0; i < count; ++i) {
    const bool has_fresh = is_newest && slot >= 0 && i == count - 1;
    barrier_wait(shared_address(&shared.keys_full), i % 2);
    if (has_fresh && fresh_key / kWarpKeys == warp) patch(shared.keys, shared.fresh[0], 0, kDim / 8);
    float scores[kWarpKeys / 2] = {};
#pragma unroll
    for (int k = 0; k < kDim / 16; k += 2)
#pragma unroll
      for (int n = 0; n < kWarpKeys / 8; ++n) {
        uint32_t b[4];
        load_matrices(
            b, keys + k / 4 * kTileBlockBytes + swizzled(warp * kWarpKeys + n * 8 + lane % 8, k % 4 * 2 + lane / 8));
        float(&d)[4] = *reinterpret_cast<float(*)[4]>(scores + 4 * n);
        mma_16x8x16(d, q[k], b[0], b[1]);
        mma_16x8x16(d, q[k + 1], b[2], b[3]);
      }
    mask_scores(scores, (first_tile + i) * kTile + warp * kWarpKeys, {num_keys - 1, num_keys - 1}, lane);
    Part<kWarpDims / 2> tile;
    row_maxima(scores, tile.m);
    if (lane % 4 == 0) {
      shared.maxima[lane / 4][warp] = tile.m[0];
      shared.maxima[lane / 4 + 8][warp] = tile.m[1];
    }
    __syncthreads();  // all have read the keys and written their maxima
    copy(i + 1, false);
#pragma unroll
    for (int w = 0; w < kWarps; ++w)
#pragma unroll
      for (int r = 0; r < 2; ++r) tile.m[r] = fmaxf(tile.m[r], shared.maxima[lane / 4 + 8 * r][w]);
    uint32_t own[kWarpKeys / 4];
    probabilities(scores, tile.m, scale, own);
#pragma unroll
    for (int j = 0; j < kWarpKeys / 4; ++j) {
      const int chunk = warp * (kWarpKeys / 8) + j / 2;
      *reinterpret_cast<uint32_t*>(shared.p[chunk / 8] + swizzled(lane / 4 + j % 2 * 8, chunk % 8) + lane % 4 * 4) =
          own[j];
    }
    __syncthreads();  // all have written their probabilities
    barrier_wait(shared_address(&shared.values_full), i % 2);
    if (has_fresh) patch(shared.values, shared.fresh[1], warp * (kWarpDims / 8), kWarpDims / 8);
    RowSums sums;
#pragma unroll
    for (int k = 0; k < kTile / 16; k += 2) {
      uint32_t p[2][4];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        load_matrices(p[j], shared_address(shared.p[k / 4]) + swizzled(lane % 16, (k + j) % 4 * 2 + lane / 16));
        sums.add(p[j]);
      }
#pragma unroll
      for (int n = 0; n < kWarpDims / 8; ++n) {
        const int chunk = warp * (kWarpDims / 8) + n;
        uint32_t b[4];
        load_matrices_transposed(b, values + chunk / 8 * kTileBlockBytes + swizzled(k * 16 + lane, chunk % 8));
        float(&d)[4] = *reinterpret_cast<float(*)[4]>(tile.o + 4 * n);
        mma_16x8x16(d, p[0], b[0], b[1]);
        mma_16x8x16(d, p[1], b[2], b[3]);
      }
    }
    tile.l[0] = sums.of_row(0);
    tile.l[1] = sums.of_row(1);
    if (whole_group)
      sum.merge(tile, scale);
    else
      hand_over(tile, rank * plan.tiles_per_block + i);
    if (i + 1 == count) break;
    __syncthreads();  // all have read the values
    copy(i + 1, true);
  }
  if (whole_group) hand_over(sum, 0);
  arrive_at_cluster();
  if (rank != 0) return;
  wait_for_cluster();

  const int num_groups = (num_tiles + kGroup - 1) / kGroup;
  const int num_parts = whole_group ? 1 : min(kGroup, num_tiles - group_idx * kGroup);
  const int64_t pair = int64_t{blockIdx.z} * args.num_kv_heads + kv_head;
  const int64_t group_floats = int64_t{group} * kRowFloats;
  float* partials = plan.partials + pair * ((plan.max_tiles + kGroup - 1) / kGroup) * group_floats;
  bfloat* out_row = static_cast<bfloat*>(args.out) + row * args.ld_out;
  bfloat* out = out_row + int64_t{kv_head} * group * dim;
  for (int r = warp; r < group; r += kWarps) {
    const RowPart<kDim> part = merge_rows<kDim>(parts + r * kRowFloats, group_floats, num_parts, scale, lane,
                                                [](const float2* from) { return *from; });
    if (num_groups == 1)
      part.store_result(out + r * dim, dim, lane);
    else
      part.store(partials + group_idx * group_floats + r * kRowFloats, lane);
  }
  if (num_groups > 1) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      shared.is_last = atomicAdd(plan.counters + pair, 1) == static_cast<uint32_t>(num_groups - 1);
      if (shared.is_last) plan.counters[pair] = 0;
      __threadfence();
    }
    __syncthreads();
    if (!shared.is_last) return;
    for (int r = warp; r < group; r += kWarps)
      merge_rows<kDim>(partials + r * kRowFloats, group_floats, num_groups, scale, lane, [](const float2* from) {
        return __ldcg(from);
      }).store_result(out + r * dim, dim, lane);
  }
  if (kv_head == args.num_kv_heads - 1 && warp == 0)
    clear_padding(out_row, int64_t{args.num_heads} * dim, args.ld_out, lane);
}

template <int kDim>
cudaError_t launch_decode(const AttendArgs& args, const DecodePlan& plan, cudaStream_t stream) {
  constexpr size_t kMost = sizeof(DecodeShared<kDim>) + sizeof(float) * kGroup * kRows * part_row_floats(kDim);
  static const cudaError_t allowed = allow_shared(attend_decode_kernel<kDim>, kMost);
  if (allowed != cudaSuccess) return allowed;
  size_t bytes = sizeof(DecodeShared<kDim>);
  if (plan.tiles_per_block < kGroup)
    bytes += sizeof(float) * kGroup * static_cast<size_t>(args.group()) * part_row_floats(kDim);
  const unsigned cluster = static_cast<unsigned>(plan.blocks_per_group());
  const dim3 grid(static_cast<unsigned>(plan.max_groups()) * cluster, static_cast<unsigned>(args.num_kv_heads),
                  static_cast<unsigned>(plan.num_sequences));
  return launch_in_clusters(attend_decode_kernel<kDim>, cluster, grid, dim3(32 * kWarps), bytes, stream, args, plan,
                            static_cast<int>(cluster), score_scale(args.head_dim));
}

}  // namespace

cudaError_t attend_decode(const AttendArgs& args, const DecodePlan& plan, cudaStream_t stream) {
  if (plan.num_sequences == 0) return cudaSuccess;
  return args.kv.padded_dim == 64 ? launch_decode<64>(args, plan, stream) : launch_decode<128>(args, plan, stream);
}

}  // namespace qwill::cuda
