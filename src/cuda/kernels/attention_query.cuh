// A prefill block's queries: kQueryRows (row, head of the group) pairs of one sequence and kv head, rows in order, a
// row's heads side by side; and where their results go.
#pragma once

#include "cuda/kernels/attention_common.cuh"

namespace qwill::cuda {

struct Queries {
  const AttendArgs& args;
  int kv_head;
  int group;
  int first_row;
  int num_rows;  // of the sequence, from first_row on, that are in the tile

  __device__ __forceinline__ Queries(const AttendArgs& args, const QueryTile& tile, int kv_head)
      : args(args), kv_head(kv_head), group(args.group()), first_row(tile.first_row) {
    num_rows = min(query_tile_rows(group), args.row_begin[tile.sequence + 1] - first_row);
  }

  // Position of a pair's row; -1, which sees no key, where there is no pair.
  __device__ __forceinline__ int position(int pair) const {
    const int row = pair / group;
    return row < num_rows ? args.positions[first_row + row] : -1;
  }
  // Tiles up to this position need no mask.
  __device__ __forceinline__ int first_position() const { return args.positions[first_row]; }
  // Tiles of keys that some row sees. Rows are in the order of their positions.
  __device__ __forceinline__ int num_key_tiles() const { return args.positions[first_row + num_rows - 1] / kTile + 1; }

  // Pairs first … first + count - 1 to shared memory, as [64-column block][kQueryRows][64], swizzled; zeros where there
  // is no pair. By num_threads threads, 16 bytes each.
  template <int kDim>
  __device__ __forceinline__ void load(uint8_t* to, int thread, int num_threads, int first, int count) const {
    for (int i = thread; i < count * (kDim / 8); i += num_threads) {
      const int pair = first + i / (kDim / 8), chunk = i % (kDim / 8);
      const int row = pair / group, head = kv_head * group + pair % group;
      uint4 value = {};
      if (row < num_rows)
        value = reinterpret_cast<const uint4*>(static_cast<const bfloat*>(args.q) +
                                               (int64_t{first_row + row} * args.num_heads + head) * kDim)[chunk];
      store_16(shared_address(to) + chunk / 8 * (kQueryRows * 128) + swizzled(pair, chunk % 8), value);
    }
  }

  // A warp's 16 pairs: o / l.
  template <int kCount>
  __device__ __forceinline__ void store(const float (&o)[kCount], const float (&l)[2], const int (&pairs)[2],
                                        int lane) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = pairs[r] / group, head = kv_head * group + pairs[r] % group;
      if (row >= num_rows) continue;
      bfloat* out_row = static_cast<bfloat*>(args.out) + int64_t{first_row + row} * args.ld_out;
      const float factor = inverse(l[r]);
#pragma unroll
      for (int i = 2 * r; i < kCount; i += 4)
        if (const int d = i / 4 * 8 + lane % 4 * 2; d < args.head_dim)
          *reinterpret_cast<uint32_t*>(out_row + head * args.head_dim + d) =
              pack_bf16(__fmul_rn(o[i], factor), __fmul_rn(o[i + 1], factor));
      if (head == args.num_heads - 1)
        for (int64_t c = int64_t{args.num_heads} * args.head_dim + lane % 4; c < args.ld_out; c += 4)
          out_row[c] = bfloat(0.0f);
    }
  }
};

}  // namespace qwill::cuda
