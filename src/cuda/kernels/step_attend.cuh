// Attention within decode_step.cu: what attend_decode does, in tasks of one (tile of keys, kv head). The first eight
// warps of a block take tasks blockIdx, blockIdx + gridDim, …; parts go through global memory, and whoever finishes the
// last part of a group of tiles (the last group) merges them: the counters order nothing but who that is.
#pragma once

#include "cuda/kernels/step_block.cuh"

namespace qwill::cuda {

constexpr int kAttendThreads = 32 * kDecodeWarps;

template <int kDim>
struct StepAttend {
  StepBlock& b;
  const AttendArgs& args;
  const int32_t op;
  DecodeTile<kDim>& tile = *reinterpret_cast<DecodeTile<kDim>*>(b.room);
  const int32_t num_tiles = (b.num_keys + kTile - 1) / kTile;
  const int32_t num_tasks = num_tiles * args.num_kv_heads;
  static constexpr int kRowFloats = part_row_floats(kDim);

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
      barrier_expect_bytes(barrier, kTileBytes<kDim>);
#pragma unroll 1
      for (int page = 0; page < tile_pages; ++page) {
        const int32_t id =
            i < kKnownTiles ? b.shared.pages[i][page] : b.p.page_table[min(idx * tile_pages + page, b.p.max_pages - 1)];
        const bfloat* from =
            static_cast<const bfloat*>(kv.data) + (values ? kv.values(id, kv_head) : kv.keys(id, kv_head));
        for (int block = 0; block < kDim / 64; ++block)
          copy_bulk(
              shared_address(values ? tile.values : tile.keys) + block * kTileBlockBytes + page * kv.page_size * 128,
              from + block * kv.page_size * 64, kv.page_size * 128, barrier);
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ void run() const {
    const bool busy = b.warp < kDecodeWarps && static_cast<int32_t>(blockIdx.x) < num_tasks;
    HeadConstants constants;
    if (busy) {
      copy(0, false);
      copy(0, true);
      const int half = args.head_dim / 2;
      constants.q_norm = load_head(args.q_norm, half, b.lane);
      constants.k_norm = load_head(args.k_norm, half, b.lane);
      constants.rotation = load_rotation(args.cos, args.sin, half, b.lane);
      tile.clear_queries(b.thread);
      sync();
    }
    b.wait_for_op_before(op);
    if (!busy) return;
    int32_t i = 0;
    for (int32_t task = blockIdx.x; task < num_tasks; task += gridDim.x, ++i) {
      const int32_t kv_head = task % args.num_kv_heads, idx = task / args.num_kv_heads;
      run_task(i, kv_head, idx, constants);
      finish_part(kv_head, idx);
    }
    b.tiles_copied += i;
  }

  __device__ __forceinline__ void run_task(int32_t i, int32_t kv_head, int32_t idx,
                                           const HeadConstants& constants) const {
    const int warp = b.warp, lane = b.lane;
    const bool is_newest = idx == num_tiles - 1, has_fresh = is_newest && b.slot >= 0;
    const int fresh_key = (b.num_keys - 1) % kTile;
    const uint32_t parity = (b.tiles_copied + i) % 2;
    prepare_heads(tile, args, 0, kv_head, is_newest, b.slot, constants, warp, lane);
    sync();
    Part<kWarpDims<kDim> / 2> part;
    float scores[kWarpKeys / 2] = {};
    {
      uint32_t q[kDim / 16][4];
      load_queries(q, tile, lane);
      wait_for(shared_address(&b.shared.keys_full), parity, b.p, StepWait::keys, op, i);
      if (has_fresh && fresh_key / kWarpKeys == warp) {
        patch_row(tile.keys, fresh_key, tile.fresh[0], 0, kDim / 8, lane);
        fence_async_proxy();  // another tile may be copied over it
      }
      score_keys<kDim>(scores, q, shared_address(tile.keys), warp, lane);
    }
    mask_scores(scores, idx * kTile + warp * kWarpKeys, {b.num_keys - 1, b.num_keys - 1}, lane);
    row_maxima(scores, part.m);
    put_maxima(tile, part.m, warp, lane);
    sync();  // all have read the keys and written their maxima
    copy(i + 1, false);
    take_maxima(tile, part.m, lane);
    put_probabilities(tile, scores, part.m, b.p.score_scale, warp, lane);
    sync();  // all have written their probabilities
    wait_for(shared_address(&b.shared.values_full), parity, b.p, StepWait::values, op, i);
    if (has_fresh) {
      patch_row(tile.values, fresh_key, tile.fresh[1], warp * (kWarpDims<kDim> / 8), kWarpDims<kDim> / 8, lane);
      fence_async_proxy();
    }
    RowSums sums;
    sum_values<kDim>(part.o, sums, tile, shared_address(tile.values), warp, lane);
    part.l[0] = sums.of_row(0);
    part.l[1] = sums.of_row(1);

    float* to = part_of(kv_head, idx);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = lane / 4 + 8 * r;
      if (row >= args.group()) continue;
      float* out = to + row * kRowFloats;
      if (warp == 0 && lane % 4 == 0) *reinterpret_cast<float2*>(out + kDim) = {part.m[r], part.l[r]};
#pragma unroll
      for (int j = 2 * r; j < kWarpDims<kDim> / 2; j += 4)
        *reinterpret_cast<float2*>(out + warp * kWarpDims<kDim> + j / 4 * 8 + lane % 4 * 2) = {part.o[j],
                                                                                               part.o[j + 1]};
    }
    fence_gpu();
    sync();  // all have read the values, and written their share of the part
    copy(i + 1, true);
  }

  // Rows of a tile's part; behind those of all tiles, of a group's.
  __device__ __forceinline__ float* part_of(int32_t kv_head, int32_t idx) const {
    return b.p.partials + (int64_t{kv_head} * b.p.max_tiles + idx) * args.group() * kRowFloats;
  }
  __device__ __forceinline__ float* group_part_of(int32_t kv_head, int32_t group_idx) const {
    const int32_t max_groups = (b.p.max_tiles + kGroup - 1) / kGroup;
    return part_of(args.num_kv_heads, 0) + (int64_t{kv_head} * max_groups + group_idx) * args.group() * kRowFloats;
  }

  // True in the block that counts the last of `count`, which then sees what all have written.
  __device__ __forceinline__ bool is_last(uint32_t* counter, int32_t count) const {
    if (count == 1) {
      sync();
      return true;
    }
    if (b.thread == 0) {
      const bool last = atomicAdd(counter, 1) == static_cast<uint32_t>(count - 1);
      if (last) *counter = 0;
      fence_gpu();
      b.shared.is_last = last;
    }
    sync();
    return b.shared.is_last;
  }

  __device__ __forceinline__ void finish_part(int32_t kv_head, int32_t idx) const {
    const int32_t group = args.group(), group_idx = idx / kGroup, num_groups = (num_tiles + kGroup - 1) / kGroup;
    const int32_t max_groups = (b.p.max_tiles + kGroup - 1) / kGroup, dim = args.head_dim;
    const int64_t part_floats = int64_t{group} * kRowFloats;
    uint32_t* counters = b.p.counters + kv_head * (max_groups + 1);
    const int32_t num_parts = min(kGroup, num_tiles - group_idx * kGroup);
    const auto read = [](const float2* from) { return __ldcg(from); };
    if (!is_last(counters + group_idx, num_parts)) return;
    bfloat* out_row = static_cast<bfloat*>(args.out);
    bfloat* out = out_row + int64_t{kv_head} * group * dim;
    for (int r = b.warp; r < group; r += kDecodeWarps) {
      const RowPart<kDim> part = merge_rows<kDim>(part_of(kv_head, group_idx * kGroup) + r * kRowFloats, part_floats,
                                                  num_parts, b.p.score_scale, b.lane, read);
      if (num_groups == 1)
        part.store_result(out + r * dim, dim, b.lane);
      else
        part.store(group_part_of(kv_head, group_idx) + r * kRowFloats, b.lane);
    }
    if (num_groups > 1) {
      fence_gpu();
      sync();
      if (!is_last(counters + max_groups, num_groups)) return;
      for (int r = b.warp; r < group; r += kDecodeWarps)
        merge_rows<kDim>(group_part_of(kv_head, 0) + r * kRowFloats, part_floats, num_groups, b.p.score_scale, b.lane,
                         read)
            .store_result(out + r * dim, dim, b.lane);
    }
    if (kv_head == args.num_kv_heads - 1 && b.warp == 0)
      clear_padding(out_row, int64_t{args.num_heads} * dim, args.ld_out, b.lane);
  }
};

}  // namespace qwill::cuda
