// Attention within decode_step.cu: what attend_decode does, in tasks of one (tile of keys, kv head). The first eight
// warps of a block take tasks blockIdx, blockIdx + gridDim, …; then heads to merge are dealt to warps of all blocks:
// the parts of a group of tiles, and of groups where there are several. Parts are words (decode_step.h), so a merge
// waits for those it reads alone; tasks wait for no merge, and a group's merge for no other.
#pragma once

#include "cuda/kernels/step_block.cuh"

namespace qwill::cuda {

constexpr int kAttendThreads = 32 * kDecodeWarps;

template <int kDim, typename Cache>
struct StepAttend {
  StepBlock& b;
  const AttendArgs& args;
  const int32_t op;
  DecodeTile<kDim, Cache>& tile = *reinterpret_cast<DecodeTile<kDim, Cache>*>(b.room);
  // Where values are copied to: to the place of the keys when these have been read, or behind the tile.
  uint8_t* const values_place = tile.keys + (b.p.values_apart ? sizeof(tile) : 0);
  const int32_t num_tiles = (b.num_keys + kTile - 1) / kTile;
  const int32_t num_tasks = num_tiles * args.num_kv_heads;
  static constexpr int kRowWords = part_row_floats(kDim);

  __device__ __forceinline__ void sync() const { sync_threads<kAttendThreads>(3); }

  // The block's i-th task, its keys or values: one warp for each. Old keys depend on nothing of this step; the new key,
  // which the copy lacks, is put in its place where it is read.
  __device__ __forceinline__ void copy(int32_t i, bool values) const {
    const int32_t task = static_cast<int32_t>(blockIdx.x + i * gridDim.x);
    if (task >= num_tasks || b.warp != (values ? 2 : 1)) return;
    const KvLayout& kv = args.kv;
    const int tile_pages = kTile / kv.page_size, kv_head = task % kv.num_kv_heads, idx = task / kv.num_kv_heads;
    if (elect_lane()) {
      const uint32_t barrier = shared_address(values ? &b.shared.values_full : &b.shared.keys_full);
      const uint32_t place = shared_address(values ? values_place : tile.keys);
      barrier_expect_bytes(barrier, kCachedBytes<kDim, Cache>);
#pragma unroll 1
      for (int page = 0; page < tile_pages; ++page) {
        const int32_t id =
            i < kKnownTiles ? b.shared.pages[i][page] : b.p.page_table[min(idx * tile_pages + page, b.p.max_pages - 1)];
        const uint8_t* from = cached_block<Cache>(kv, id, kv_head, values);
        for (int block = 0; block < kCachedBlocks<kDim, Cache>; ++block)
          copy_bulk(place + block * kTileBlockBytes + page * kv.page_size * 128, from + block * kv.page_size * 128,
                    kv.page_size * 128, barrier);
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ void run() const {
    const bool busy = b.warp < kDecodeWarps && static_cast<int32_t>(blockIdx.x) < num_tasks;
    HeadConstants constants;
    if (busy) {
      copy(0, false);
      if (b.p.values_apart) copy(0, true);
      const int half = args.head_dim / 2;
      constants.q_norm = load_head(args.q_norm, half, b.lane);
      constants.k_norm = load_head(args.k_norm, half, b.lane);
      constants.rotation = load_rotation(args.cos, args.sin, half, b.lane);
      tile.clear_queries(b.thread);
      sync();
      int32_t i = 0;
      for (int32_t task = blockIdx.x; task < num_tasks; task += gridDim.x, ++i)
        run_task(i, task % args.num_kv_heads, task / args.num_kv_heads, constants);
      b.tiles_copied += i;
    }
    merge_heads();
  }

  __device__ __forceinline__ Head load_words_of_head(const StepWord* from) const {
    const int half = args.head_dim / 2;
    Head x;
    wait_for_words(b.p, op, [&] {
      bool there = true;
      for_each_pair(half, b.lane, [&](int j, int i) {
        x.low[j] = load_word(from + i, b.epoch_before(), there);
        x.high[j] = load_word(from + i + half, b.epoch_before(), there);
      });
      return there;
    });
    return x;
  }

  __device__ __forceinline__ void run_task(int32_t i, int32_t kv_head, int32_t idx,
                                           const HeadConstants& constants) const {
    const int warp = b.warp, lane = b.lane;
    const bool is_newest = idx == num_tiles - 1, has_fresh = is_newest && b.slot >= 0;
    const int fresh_key = (b.num_keys - 1) % kTile;
    const uint32_t parity = (b.tiles_copied + i) % 2;
    const auto load_qkv = [&](int head) {
      return load_words_of_head(b.p.words + b.p.qkv_words + int64_t{head} * args.head_dim);
    };
    prepare_heads(tile, args, load_qkv, kv_head, is_newest, b.slot, constants, warp, lane);
    sync();
    Part<kWarpDims<kDim> / 2> part;
    float scores[kWarpKeys / 2] = {};
    {
      uint32_t q[kDim / 16][4];
      load_queries(q, tile, lane);
      wait_for(shared_address(&b.shared.keys_full), parity, b.p, StepWait::keys, op, i);
      if (has_fresh && fresh_key / kWarpKeys == warp) {
        patch_row(tile.keys, fresh_key, tile.fresh[0], 0, kDim, lane);
        fence_async_proxy();  // another tile may be copied over it
      }
      score_keys<kDim, Cache>(scores, q, shared_address(tile.keys), warp, lane);
    }
    mask_scores(scores, idx * kTile + warp * kWarpKeys, {b.num_keys - 1, b.num_keys - 1}, lane);
    row_maxima(scores, part.m);
    put_maxima(tile, part.m, warp, lane);
    sync();  // all have read the keys, where the next keys or the values go now, and written their maxima
    copy(b.p.values_apart ? i + 1 : i, !b.p.values_apart);
    take_maxima(tile, part.m, lane);
    put_probabilities(tile, scores, part.m, b.p.score_scale, warp, lane);
    sync();  // all have written their probabilities
    wait_for(shared_address(&b.shared.values_full), parity, b.p, StepWait::values, op, i);
    if (has_fresh) {
      patch_row(values_place, fresh_key, tile.fresh[1], warp * kWarpDims<kDim>, kWarpDims<kDim>, lane);
      fence_async_proxy();
    }
    RowSums<Cache> sums;
    sum_values<kDim>(part.o, sums, tile, shared_address(values_place), warp, lane);
    part.l[0] = sums.of_row(0);
    part.l[1] = sums.of_row(1);

    StepWord* to = part_of(kv_head, idx);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = lane / 4 + 8 * r;
      if (row >= args.group()) continue;
      StepWord* out = to + row * kRowWords;
      if (warp == 0 && lane % 4 == 0) store_words(out + kDim, part.m[r], part.l[r], b.epoch());
#pragma unroll
      for (int j = 2 * r; j < kWarpDims<kDim> / 2; j += 4)
        store_words(out + warp * kWarpDims<kDim> + j / 4 * 8 + lane % 4 * 2, part.o[j], part.o[j + 1], b.epoch());
    }
    sync();  // all have read the values
    copy(i + 1, b.p.values_apart);
  }

  // Parts of tiles; behind all of them, of groups.
  __device__ __forceinline__ StepWord* part_of(int32_t kv_head, int32_t idx) const {
    return b.p.words + (int64_t{kv_head} * b.p.max_tiles + idx) * args.group() * kRowWords;
  }
  __device__ __forceinline__ StepWord* group_part_of(int32_t kv_head, int32_t group_idx) const {
    const int32_t max_groups = (b.p.max_tiles + kGroup - 1) / kGroup;
    return part_of(args.num_kv_heads, 0) + (int64_t{kv_head} * max_groups + group_idx) * args.group() * kRowWords;
  }

  // `count` parts of one head, when they are there.
  __device__ __forceinline__ RowPart<kDim> merge(const StepWord* first, int32_t count) const {
    const int64_t stride = int64_t{args.group()} * kRowWords;
    constexpr int kAhead = 4;
    return merge_parts<kDim, kAhead>(count, b.p.score_scale, [&](RowPart<kDim>(&parts)[kAhead], int begin) {
      wait_for_words(b.p, op, [&] {
        bool there = true;
        const auto read = [&](const StepWord* from) { return load_words(from, b.epoch(), there); };
#pragma unroll
        for (int i = 0; i < kAhead; ++i)
          if (begin + i < count) parts[i].load(first + (begin + i) * stride, b.lane, read);
        return there;
      });
    });
  }

  __device__ __forceinline__ void put_result(const RowPart<kDim>& part, int32_t head) const {
    bfloat* row = static_cast<bfloat*>(args.out);
    part.store_result(row + int64_t{head} * args.head_dim, args.head_dim, b.lane);
    if (head == 0) clear_padding(row, int64_t{args.num_heads} * args.head_dim, args.ld_out, b.lane);
  }

  // Heads are dealt to different blocks, the last blocks first: they have fewer tiles.
  __device__ __forceinline__ void merge_heads() const {
    const int32_t group = args.group(), num_groups = (num_tiles + kGroup - 1) / kGroup;
    const auto num_blocks = static_cast<int32_t>(gridDim.x);
    const int32_t stride = num_blocks * b.p.warps;
    const int32_t first = b.warp * num_blocks + num_blocks - 1 - static_cast<int32_t>(blockIdx.x);
    for (int32_t i = first; i < num_groups * args.num_heads; i += stride) {
      const int32_t head = i % args.num_heads, group_idx = i / args.num_heads, begin = group_idx * kGroup;
      const RowPart<kDim> part =
          merge(part_of(head / group, begin) + head % group * kRowWords, min(kGroup, num_tiles - begin));
      if (num_groups == 1) {
        put_result(part, head);
      } else {
        StepWord* to = group_part_of(head / group, group_idx) + head % group * kRowWords;
        part.for_each_pair_of_floats(b.lane, [&](int d, float x, float y) { store_words(to + d, x, y, b.epoch()); });
      }
    }
    if (num_groups == 1) return;
    for (int32_t head = first; head < args.num_heads; head += stride)
      put_result(merge(group_part_of(head / group, 0) + head % group * kRowWords, num_groups), head);
  }
};

}  // namespace qwill::cuda
