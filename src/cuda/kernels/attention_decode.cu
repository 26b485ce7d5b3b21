#include "cuda/kernels/attention_tile.cuh"
#include "cuda/kernels/launch.cuh"

namespace qwill::cuda {
namespace {

// Tiles under way of keys, and of values: the room of one of bf16.
template <typename Cache>
constexpr int kStages = 2 / static_cast<int>(sizeof(typename Cache::Element));

template <int kDim, typename Cache>
struct DecodeShared : DecodeTile<kDim, Cache> {
  alignas(1024) uint8_t more[(kStages<Cache> - 1) + kStages<Cache>][kCachedBytes<kDim, Cache>];
  uint64_t keys_full[kStages<Cache>], values_full[kStages<Cache>];
  uint32_t is_last;

  __device__ __forceinline__ uint8_t* keys_of(int stage) { return stage == 0 ? this->keys : more[stage - 1]; }
  __device__ __forceinline__ uint8_t* values_of(int stage) { return more[kStages<Cache> - 1 + stage]; }
};

// attend_decode: everything of `attend` for sequences with one row: norm and rotation of the group's queries and of the
// key, key and value to the row's slot, attention over the sequence's pages, merge of the parts.
// qkv [T, (H + 2 KV) D] f32, pages bf16 or e4m3, out [T, ld_out] bf16; parts in f32
// moves S KV (context 2 D (2 or 1) + groups of tiles * group of heads (D + 8) 8) bytes; memory-bound, latency-bound for
// few tiles A cluster takes a group of tiles of one (sequence, kv head), a block tiles_per_block of them; the first
// block merges what all have stored into its shared memory. Of several groups the last to finish merges: the counters
// order nothing but who that is; where sequences alone fill the card, a block takes all groups of its pair in turn and
// merges them itself, in the same order. A tile's keys and values are copied while the last ones are multiplied, the
// first before the queries are ready: the block that holds the new key and value puts them in place itself. reference:
// ops/reference.cpp attend, bit-equal to attend_prefill    test, bench: bench/cuda/bench_attention.cu
template <int kDim, typename Cache>
__global__ void __launch_bounds__(32 * kDecodeWarps, 2)
    attend_decode_kernel(AttendArgs args, DecodePlan plan, int cluster, float scale) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<DecodeShared<kDim, Cache>*>(shared_bytes);
  constexpr int kBlocks = kCachedBlocks<kDim, Cache>, kWarps = kDecodeWarps, kStages = cuda::kStages<Cache>;
  constexpr int kWarpDims = cuda::kWarpDims<kDim>;
  constexpr int kRowFloats = part_row_floats(kDim);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, half = args.head_dim / 2;
  const KvLayout& kv = args.kv;
  const int kv_head = blockIdx.y, tile_pages = kTile / kv.page_size;
  const bool by_sequence = plan.sequence_blocks > 0;
  const int group_idx = blockIdx.x / cluster, rank = blockIdx.x % cluster;
  const int first_of_pages = by_sequence ? 0 : group_idx * kGroup + rank * plan.tiles_per_block;

  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(shared_address(&shared.keys_full[stage]), 1);
      barrier_init(shared_address(&shared.values_full[stage]), 1);
    }
    barrier_init_fence();
  }
  shared.clear_queries(threadIdx.x);
  const Head q_norm = load_head(args.q_norm, half, lane), k_norm = load_head(args.k_norm, half, lane);
  if (threadIdx.x == 32) {
    // What the step's arrays hold is not to be read yet, but may come nearer: weights have driven it out of the L2.
    const int64_t i = blockIdx.z;
    if (plan.sequences != nullptr) prefetch_line(plan.sequences + i);
    prefetch_line(args.seq_lens + i);
    prefetch_line(args.row_begin + i);
    prefetch_line(args.slots + i);
    prefetch_line(args.page_table + i * args.max_pages + min(first_of_pages * tile_pages, args.max_pages - 1));
    prefetch_line(args.cos + i * half);
    prefetch_line(args.sin + i * half);
  }
  __syncthreads();
  arrive_at_cluster();
  let_next_kernel_start();
  if (!plan.reads_ahead) wait_for_previous_kernel();

  // Page ids are asked for before it is known how many of them are in use: every entry names some page.
  const int sequence = plan.sequences == nullptr ? static_cast<int>(blockIdx.z) : plan.sequences[blockIdx.z];
  if (sequence < 0) {
    if (plan.reads_ahead) wait_for_previous_kernel();  // every block waits, so that kernels end in their order
    return;
  }
  const auto pages_of_tiles = [&](int first) {
    return lane < (by_sequence ? plan.max_tiles : plan.tiles_per_block) * tile_pages
               ? args.page_table[int64_t{sequence} * args.max_pages +
                                 min(first * tile_pages + lane, args.max_pages - 1)]
               : 0;
  };
  int page = pages_of_tiles(first_of_pages), next_page = plan.all_groups ? pages_of_tiles(kGroup) : 0;
  const int num_keys = args.seq_lens[sequence];
  const int64_t row = args.row_begin[sequence];
  const int num_tiles = (num_keys + kTile - 1) / kTile;
  const auto share = [&](int block) { return (block * num_tiles + cluster - 1) / cluster; };
  const int first_tile = by_sequence ? share(rank) : first_of_pages;
  const int count = by_sequence       ? share(rank + 1) - first_tile
                    : plan.all_groups ? num_tiles
                                      : min(plan.tiles_per_block, num_tiles - first_tile);
  if (count <= 0) {
    if (plan.reads_ahead) wait_for_previous_kernel();
    return;
  }
  // Keys of a tile, rounded up to whole atoms: what lies behind them is not copied.
  const auto tile_keys = [&](int tile) { return min(kTile, (num_keys - (first_tile + tile) * kTile + 7) / 8 * 8); };

  // A tile's keys or values, in pieces of a page's 64-column blocks, a warp each.
  const auto copy = [&](int tile, bool values) {
    const int page_idx = warp / kBlocks, block = warp % kBlocks;
    const int place = by_sequence ? first_tile + tile : tile % kGroup;
    const int id = __shfl_sync(kAllLanes, page, place * tile_pages + page_idx);
    if (lane != 0 || page_idx >= tile_pages || tile >= count) return;
    const int stage = tile % kStages;
    const uint32_t barrier = shared_address(values ? &shared.values_full[stage] : &shared.keys_full[stage]);
    const int keys = tile_keys(tile), page_keys = min(kv.page_size, keys - page_idx * kv.page_size);
    if (warp == 0) barrier_expect_bytes(barrier, keys * kBlocks * 128);
    if (page_keys <= 0) return;
    copy_bulk(shared_address(values ? shared.values_of(stage) : shared.keys_of(stage)) + block * kTileBlockBytes +
                  page_idx * kv.page_size * 128,
              cached_block<Cache>(kv, id, kv_head, values) + block * kv.page_size * 128, page_keys * 128, barrier);
  };
  for (int tile = 0; tile < kStages; ++tile) {
    copy(tile, false);
    copy(tile, true);
  }
  // Where no values come to stand, nothing may be that zero times it is not zero. Later tiles find earlier values.
  for (int tile = 0; tile < min(kStages, count); ++tile)
    for (int i = tile_keys(tile) * 8 + threadIdx.x; i < kTile * 8; i += 32 * kWarps)
      for (int block = 0; block < kBlocks; ++block)
        reinterpret_cast<uint4*>(shared.values_of(tile) + block * kTileBlockBytes)[i] = {};

  // Queries of the group, and in the block with the last tile the new key and value.
  const int group = args.group(), dim = args.head_dim;
  const int32_t slot = args.slots[row];
  const bool is_newest = first_tile + count == num_tiles;
  const Rotation rotation = load_rotation(args.cos + row * half, args.sin + row * half, half, lane);
  if (plan.reads_ahead) wait_for_previous_kernel();
  const float* qkv = args.qkv + row * args.ld_qkv;
  const auto load_qkv = [&](int head) { return load_head(qkv + int64_t{head} * dim, half, lane); };
  prepare_heads(shared, args, load_qkv, kv_head, is_newest, slot, {q_norm, k_norm, rotation}, warp, lane);
  __syncthreads();
  uint32_t q[kDim / 16][4];
  load_queries(q, shared, lane);

  // The copied tile lacks the new key and value: chunks of its row are put in place by the warp that reads them.
  const int fresh_key = (num_keys - 1) % kTile;

  // Parts go to the first block's shared memory: behind everything else, or, when a group has one block and so one
  // part, to where its keys were.
  const bool whole_group = !by_sequence && plan.tiles_per_block == kGroup;
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

  Part<kWarpDims / 2> sum, all;
  for (int i = 0; i < count; ++i) {
    const bool has_fresh = is_newest && slot >= 0 && i == count - 1;
    const int stage = i % kStages, parity = i / kStages % 2;
    uint8_t *const keys = shared.keys_of(stage), *const values = shared.values_of(stage);
    barrier_wait(shared_address(&shared.keys_full[stage]), parity);
    if (has_fresh && fresh_key / kWarpKeys == warp) patch_row(keys, fresh_key, shared.fresh[0], 0, kDim, lane);
    float scores[kWarpKeys / 2] = {};
    score_keys<kDim, Cache>(scores, q, shared_address(keys), warp, lane);
    mask_scores(scores, (first_tile + i) * kTile + warp * kWarpKeys, {num_keys - 1, num_keys - 1}, lane);
    Part<kWarpDims / 2> tile;
    row_maxima(scores, tile.m);
    put_maxima(shared, tile.m, warp, lane);
    __syncthreads();  // all have read the keys and written their maxima
    if (plan.all_groups && (i + kStages) % kGroup == 0 && i + kStages < count) {
      page = next_page;
      next_page = pages_of_tiles(i + kStages + kGroup);
    }
    copy(i + kStages, false);
    take_maxima(shared, tile.m, lane);
    put_probabilities(shared, scores, tile.m, scale, warp, lane);
    __syncthreads();  // all have written their probabilities
    barrier_wait(shared_address(&shared.values_full[stage]), parity);
    if (has_fresh) patch_row(values, fresh_key, shared.fresh[1], warp * kWarpDims, kWarpDims, lane);
    RowSums<Cache> sums;
    sum_values<kDim>(tile.o, sums, shared, shared_address(values), warp, lane);
    tile.l[0] = sums.of_row(0);
    tile.l[1] = sums.of_row(1);
    if (whole_group)
      sum.merge(tile, scale);
    else
      hand_over(tile, by_sequence ? first_tile + i : rank * plan.tiles_per_block + i);
    if (plan.all_groups && ((i + 1) % kGroup == 0 || i + 1 == count)) {
      all.merge(sum, scale);
      sum = {};
    }
    if (i + 1 == count) break;
    __syncthreads();  // all have read the values
    copy(i + kStages, true);
  }
  if (plan.all_groups) sum = all;
  if (whole_group) hand_over(sum, 0);
  arrive_at_cluster();
  if (rank != 0) return;
  wait_for_cluster();

  const int num_groups = plan.all_groups || by_sequence ? 1 : (num_tiles + kGroup - 1) / kGroup;
  const int64_t pair = int64_t{blockIdx.z} * args.num_kv_heads + kv_head;
  const int64_t group_floats = int64_t{group} * kRowFloats;
  float* partials = plan.partials + pair * ((plan.max_tiles + kGroup - 1) / kGroup) * group_floats;
  bfloat* out_row = static_cast<bfloat*>(args.out) + row * args.ld_out;
  bfloat* out = out_row + int64_t{kv_head} * group * dim;
  for (int r = warp; r < group; r += kWarps) {
    // Of the tiles first … of a group.
    const auto merge_group = [&](int first, int count) {
      return merge_rows<kDim>(parts + first * group_floats + r * kRowFloats, group_floats, count, scale, lane,
                              [](const float* from) { return *reinterpret_cast<const float2*>(from); });
    };
    RowPart<kDim> part = merge_group(0, whole_group ? 1 : min(kGroup, num_tiles - group_idx * kGroup));
    if (by_sequence)
      for (int first = kGroup; first < num_tiles; first += kGroup)
        part.merge(merge_group(first, min(kGroup, num_tiles - first)), scale);
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
      merge_rows<kDim>(partials + r * kRowFloats, group_floats, num_groups, scale, lane, [](const float* from) {
        return __ldcg(reinterpret_cast<const float2*>(from));
      }).store_result(out + r * dim, dim, lane);
  }
  if (kv_head == args.num_kv_heads - 1 && warp == 0)
    clear_padding(out_row, int64_t{args.num_heads} * dim, args.ld_out, lane);
}

template <int kDim, typename Cache = Bf16Cache>
cudaError_t launch_decode(const AttendArgs& args, const DecodePlan& plan, cudaStream_t stream) {
  using Shared = DecodeShared<kDim, Cache>;
  constexpr size_t kMost =
      sizeof(Shared) + sizeof(float) * DecodePlan::kMostSequenceTiles * kDecodeRows * part_row_floats(kDim);
  static const cudaError_t allowed = allow_shared(attend_decode_kernel<kDim, Cache>, kMost);
  if (allowed != cudaSuccess) return allowed;
  size_t bytes = sizeof(Shared);
  const bool by_sequence = plan.sequence_blocks > 0;
  if (by_sequence && plan.max_tiles > DecodePlan::kMostSequenceTiles) return cudaErrorInvalidValue;
  if (by_sequence || plan.tiles_per_block < kGroup)
    bytes += sizeof(float) * static_cast<size_t>((by_sequence ? plan.max_tiles : kGroup) * args.group()) *
             part_row_floats(kDim);
  const unsigned cluster = static_cast<unsigned>(plan.blocks_per_cluster());
  const dim3 grid(plan.all_groups || by_sequence ? cluster : static_cast<unsigned>(plan.max_groups()) * cluster,
                  static_cast<unsigned>(args.num_kv_heads), static_cast<unsigned>(plan.num_sequences));
  return launch_in_clusters(attend_decode_kernel<kDim, Cache>, cluster, grid, dim3(32 * kDecodeWarps), bytes, stream,
                            args, plan, static_cast<int>(cluster), score_scale(args.head_dim));
}

}  // namespace

cudaError_t attend_decode(const AttendArgs& args, const DecodePlan& plan, cudaStream_t stream) {
  if (plan.num_sequences == 0) return cudaSuccess;
  if (args.kv.is_fp8) return launch_decode<128, Fp8Cache>(args, plan, stream);
  return args.kv.padded_dim == 64 ? launch_decode<64>(args, plan, stream) : launch_decode<128>(args, plan, stream);
}

}  // namespace qwill::cuda
