// Attention within decode_step.cu: what attend_decode does, in tasks of one (tile of keys, kv head). A block's tasks
// are of one kv head, whose queries its first eight warps prepare once; then heads to merge are dealt to these of all
// blocks: the parts of a group of tiles, and of groups where there are several. Parts are words (decode_step.h), so a
// merge waits for those it reads alone; tasks wait for no merge, and a group's merge for no other.
#pragma once

#include "cuda/kernels/step_block.cuh"

namespace qwill::cuda {

constexpr int kAttendThreads = 32 * kDecodeWarps;

// kWords: whether results may be words.
template <int kDim, typename Cache, bool kWords>
struct StepAttend {
  StepBlock& b;
  const AttendArgs& args;
  const int32_t op;
  const StepStores stores;
  const int32_t to;  // words
  DecodeTile<kDim, Cache>& tile = *reinterpret_cast<DecodeTile<kDim, Cache>*>(b.room);
  // Values are copied to the place of the keys when these have been read, or behind the tile. Of e4m3 they always are
  // apart, and where a block has several tiles two are under way at a time, the second one's keys and values behind.
  static constexpr int kBytes = kCachedBytes<kDim, Cache>;
  static constexpr bool kSmall = kBytes < kTileBytes<kDim>;
  const bool apart = kSmall || b.p.values_apart, in_pairs = kSmall && b.p.values_apart;
  const int32_t num_keys = b.shared.num_keys, slot = b.shared.slot;
  const int32_t num_tiles = (num_keys + kTile - 1) / kTile;
  const StepTasks tasks{args.num_kv_heads};
  const int32_t kv_head = tasks.kv_head();
  static constexpr int kRowWords = part_row_floats(kDim);
  // What of a tile the warp copies: of keys by half the warps, of values by the others.
  static constexpr int kHalf = kDecodeWarps / 2, kBlocks = kCachedBlocks<kDim, Cache>;
  const int32_t page = b.warp % kHalf / kBlocks, block = b.warp % kBlocks;
  int32_t later_pages = 0;  // its pages of tasks kKnownTiles and on, a lane each

  __device__ __forceinline__ void sync() const { sync_threads<kAttendThreads>(3); }

  // Of the block's i-th task: its place among two, the parity of that place's barriers, where it is copied to.
  __device__ __forceinline__ uint32_t stage(int32_t i) const { return in_pairs ? (b.tiles_copied + i) % 2 : 0; }
  __device__ __forceinline__ uint32_t parity(int32_t i) const { return (b.tiles_copied + i) / (in_pairs ? 2 : 1) % 2; }
  __device__ __forceinline__ uint8_t* keys_place(int32_t i) const {
    return tile.keys + stage(i) * (sizeof(tile) + kBytes);
  }
  __device__ __forceinline__ uint8_t* values_place(int32_t i) const {
    return tile.keys + (apart ? sizeof(tile) + stage(i) * (2 * kBytes) : 0);
  }

  // The keys or values of the block's i-th task, in pieces of a page's 128 bytes of a row, a warp each (one takes
  // longer than what is computed between meetings). Old keys depend on nothing of this step; the new key, which the
  // copy lacks, is put in its place where it is read. `ahead`: towards the L2 cache alone.
  __device__ __forceinline__ void copy(int32_t i, bool values, bool ahead = false) const {
    const KvLayout& kv = args.kv;
    if (tasks.tile(i) >= num_tiles || b.warp / kHalf != (values ? 1 : 0) || page >= kTile / kv.page_size) return;
    const int32_t id = i < kKnownTiles        ? b.shared.pages[i][page]
                       : i < kKnownTiles + 32 ? __shfl_sync(kAllLanes, later_pages, i - kKnownTiles)
                                              : page_of(i);
    if (elect_lane()) {
      const uint8_t* from = cached_block<Cache>(kv, id, kv_head, values) + block * kv.page_size * 128;
      if (ahead) {
        prefetch_bulk(from, kv.page_size * 128);
      } else {
        const uint32_t barrier =
            shared_address(values ? &b.shared.values_full[stage(i)] : &b.shared.keys_full[stage(i)]);
        const uint32_t place = shared_address(values ? values_place(i) : keys_place(i));
        if (b.warp % kHalf == 0) barrier_expect_bytes(barrier, kBytes);
        copy_bulk(place + block * kTileBlockBytes + page * kv.page_size * 128, from, kv.page_size * 128, barrier);
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ int32_t page_of(int32_t i) const {
    return b.p.page_table[min(tasks.tile(i) * (kTile / args.kv.page_size) + page, b.p.max_pages - 1)];
  }

  __device__ __forceinline__ void run() {
    if (b.warp >= kDecodeWarps) return;
    if (tasks.tile(0) < num_tiles) {
      copy(0, false);
      copy(0, true, !apart);
      if (in_pairs) {
        copy(1, false);
        copy(1, true);
      }
      if (tasks.tile(kKnownTiles) < num_tiles) later_pages = page_of(kKnownTiles + b.lane);
      prepare();
      int32_t i = 0;
      for (int32_t idx; (idx = tasks.tile(i)) < num_tiles; ++i) run_task(i, idx);
      b.tiles_copied += i;
    }
    merge_heads();
  }

  __device__ __forceinline__ Head load_words_of_head(const StepWord* from) const {
    const int half = args.head_dim / 2;
    Head x;
    wait_for_words(b.p, op, [&] {
      bool there = true;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int i = min(b.lane + 32 * j, half - 1);
        x.low[j] = load_word(from + i, b.epoch_before(), there);
        x.high[j] = load_word(from + i + half, b.epoch_before(), there);
      }
      return there;
    });
#pragma unroll
    for (int j = 0; j < 2; ++j)
      if (b.lane + 32 * j >= half) x.low[j] = x.high[j] = 0;
    return x;
  }

  // The queries; and the new key and value, if the newest tile is one of the block's.
  __device__ __forceinline__ void prepare() const {
    const int half = args.head_dim / 2;
    HeadConstants constants;
    constants.q_norm = load_head(args.q_norm, half, b.lane);
    constants.k_norm = load_head(args.k_norm, half, b.lane);
    constants.rotation = load_rotation(args.cos, args.sin, half, b.lane);
    tile.clear_queries(b.thread);
    sync();
    const auto load_qkv = [&](int head) {
      return load_words_of_head(b.p.words + b.p.qkv_words + int64_t{head} * args.head_dim);
    };
    const bool has_newest = (num_tiles - 1 - tasks.tile(0)) % tasks.stride() == 0;
    prepare_heads(tile, args, load_qkv, kv_head, has_newest, slot, constants, b.warp, b.lane);
    sync();
  }

  __device__ __forceinline__ void run_task(int32_t i, int32_t idx) const {
    const int warp = b.warp, lane = b.lane;
    const bool is_newest = idx == num_tiles - 1, has_fresh = is_newest && slot >= 0;
    const int fresh_key = (num_keys - 1) % kTile;
    const uint32_t parity = this->parity(i);
    uint8_t *const keys = keys_place(i), *const values = values_place(i);
    const int32_t next = i + (in_pairs ? 2 : 1);
    Part<kWarpDims<kDim> / 2> part;
    float scores[kWarpKeys / 2] = {};
    {
      uint32_t q[kDim / 16][4];
      load_queries(q, tile, lane);
      wait_for(shared_address(&b.shared.keys_full[stage(i)]), parity, b.p, StepWait::keys, op, i);
      if (has_fresh && fresh_key / kWarpKeys == warp) {
        patch_row(keys, fresh_key, tile.fresh[0], 0, kDim, lane);
        fence_async_proxy();  // another tile may be copied over it
      }
      score_keys<kDim, Cache>(scores, q, shared_address(keys), warp, lane);
    }
    mask_scores(scores, idx * kTile + warp * kWarpKeys, {num_keys - 1, num_keys - 1}, lane);
    row_maxima(scores, part.m);
    put_maxima(tile, part.m, warp, lane);
    sync();  // all have read the keys, where the next keys or the values go now, and written their maxima
    copy(apart ? next : i, !apart);
    take_maxima(tile, part.m, lane);
    put_probabilities(tile, scores, part.m, b.p.score_scale, warp, lane);
    sync();  // all have written their probabilities
    wait_for(shared_address(&b.shared.values_full[stage(i)]), parity, b.p, StepWait::values, op, i);
    if (has_fresh) {
      patch_row(values, fresh_key, tile.fresh[1], warp * kWarpDims<kDim>, kWarpDims<kDim>, lane);
      fence_async_proxy();
    }
    RowSums<Cache> sums;
    sum_values<kDim>(part.o, sums, tile, shared_address(values), warp, lane);
    part.l[0] = sums.of_row(0);
    part.l[1] = sums.of_row(1);

    StepWord* to = part_of(kv_head, idx);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = lane / 4 + 8 * r;
      if (row >= b.p.group) continue;
      StepWord* out = to + row * kRowWords;
      if (warp == 0 && lane % 4 == 0) store_words(out + kDim, part.m[r], part.l[r], b.epoch());
#pragma unroll
      for (int j = 2 * r; j < kWarpDims<kDim> / 2; j += 4)
        store_words(out + warp * kWarpDims<kDim> + j / 4 * 8 + lane % 4 * 2, part.o[j], part.o[j + 1], b.epoch());
    }
    sync();  // all have read the values
    copy(next, apart);
  }

  // Parts of tiles; behind all of them, of groups.
  __device__ __forceinline__ StepWord* part_of(int32_t kv_head, int32_t idx) const {
    return b.p.words + (int64_t{kv_head} * b.p.max_tiles + idx) * b.p.group * kRowWords;
  }
  __device__ __forceinline__ StepWord* group_part_of(int32_t kv_head, int32_t group_idx) const {
    const int32_t max_groups = (b.p.max_tiles + kGroup - 1) / kGroup;
    return part_of(args.num_kv_heads, 0) + (int64_t{kv_head} * max_groups + group_idx) * b.p.group * kRowWords;
  }

  // `count` parts of one head, when they are there.
  __device__ __forceinline__ RowPart<kDim> merge(const StepWord* first, int32_t count) const {
    const int64_t stride = int64_t{b.p.group} * kRowWords;
    constexpr int kAhead = 6;
    return merge_parts<kDim, kAhead>(count, b.p.score_scale, [&](RowPart<kDim>(&parts)[kAhead], int begin) {
      wait_for_words(b.p, op, [&] {
        bool there = true;
        const auto read = [&](const StepWord* from) { return load_words(from, b.epoch(), there); };
#pragma unroll
        for (int i = 0; i < kAhead; ++i) parts[i].load(first + min(begin + i, count - 1) * stride, b.lane, read);
        return there;
      });
      // Registers that are loaded only sometimes would be the merge's for the whole kernel.
#pragma unroll
      for (int i = 1; i < kAhead; ++i)
        if (begin + i >= count) parts[i] = {};
    });
  }

  // Two results of bf16 at a time, as one word where results are words.
  __device__ __forceinline__ void put_result(const RowPart<kDim>& part, int32_t head) const {
    const int32_t first = head * args.head_dim, all = args.num_heads * args.head_dim;
    const auto put = [&](int32_t i, uint32_t two) {
      if (kWords && stores == StepStores::words)
        store_word(b.p.words + to + i / 2, __uint_as_float(two), b.epoch());
      else
        *reinterpret_cast<uint32_t*>(static_cast<bfloat*>(args.out) + i) = two;
    };
    part.for_each_result(args.head_dim, b.lane, [&](int d, uint32_t two) { put(first + d, two); });
    if (head == 0)
#pragma unroll 1
      for (int32_t i = all + 2 * b.lane; i < args.ld_out; i += 64) put(i, 0);
  }

  // Heads are dealt to different blocks, the last blocks first: they have fewer tiles. Behind the merges of groups,
  // where there are several, those of what they yield. Without keys the result is zeros: whoever reads it waits for it.
  __device__ __forceinline__ void merge_heads() const {
    const int32_t group = b.p.group, num_heads = args.num_heads, num_groups = max(1, (num_tiles + kGroup - 1) / kGroup);
    const int32_t of_tiles = num_groups * num_heads, num_merges = of_tiles + (num_groups > 1 ? num_heads : 0);
    const auto num_blocks = static_cast<int32_t>(gridDim.x);
    const int32_t first = b.warp * num_blocks + num_blocks - 1 - static_cast<int32_t>(blockIdx.x);
#pragma unroll 1
    for (int32_t i = first; i < num_merges; i += num_blocks * kDecodeWarps) {
      const bool last = num_groups == 1 || i >= of_tiles;
      const int32_t head = i % num_heads, group_idx = i / num_heads, begin = group_idx * kGroup;
      const StepWord* from = i < of_tiles ? part_of(head / group, begin) : group_part_of(head / group, 0);
      RowPart<kDim> part =
          merge(from + head % group * kRowWords, i < of_tiles ? min(kGroup, num_tiles - begin) : num_groups);
      if (num_tiles == 0) part.l = 1;
      if (last) {
        put_result(part, head);
      } else {
        StepWord* to = group_part_of(head / group, group_idx) + head % group * kRowWords;
        part.for_each_pair_of_floats(b.lane, [&](int d, float x, float y) { store_words(to + d, x, y, b.epoch()); });
      }
    }
  }
};

}  // namespace qwill::cuda
