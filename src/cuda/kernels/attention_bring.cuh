// How tiles of keys and values come to a block of attend_prefill, by the warpgroup that does not multiply.
#pragma once

#include "cuda/kernels/attention_common.cuh"

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
  uint64_t k_copied[kStages], v_copied[kStages];  // of e4m3, which are full when they have been widened
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

// The same where pages are e4m3, by the whole warpgroup: a tile is copied to the second half of its place, and widened
// to f16 over all of it, half its keys at a time: their result goes where they were, and where no others are.
template <int kDim>
__device__ void widen_tiles(PrefillShared<kDim>& shared, const AttendArgs& args, int sequence, int kv_head,
                            int num_tiles) {
  const KvLayout& kv = args.kv;
  const int32_t* pages = args.page_table + int64_t{sequence} * args.max_pages;
  const int thread = threadIdx.x % kWarpgroup, tile_pages = kTile / kv.page_size;
  // Parts are keys and values by turns.
  const auto copy = [&](int part) {
    const int t = part / 2, stage = t % kStages;
    const bool values = part % 2 != 0;
    const uint32_t copied = shared_address(values ? &shared.v_copied[stage] : &shared.k_copied[stage]);
    const uint32_t to = shared_address(values ? shared.v[stage] : shared.k[stage]) + kTileBlockBytes;
    barrier_wait(shared_address(values ? &shared.v_empty[stage] : &shared.k_empty[stage]), t / kStages % 2 ^ 1);
    barrier_expect_bytes(copied, kCachedBytes<kDim, Fp8Cache>);
    for (int i = 0; i < tile_pages; ++i)
      copy_bulk(to + i * kv.page_size * 128,
                cached_block<Fp8Cache>(kv, pages[min(t * tile_pages + i, args.max_pages - 1)], kv_head, values),
                kv.page_size * 128, copied);
  };
  if (thread == 0) copy(0);
#pragma unroll 1
  for (int part = 0; part < 2 * num_tiles; ++part) {
    if (thread == 0 && part + 1 < 2 * num_tiles) copy(part + 1);
    const int stage = part / 2 % kStages;
    const bool values = part % 2 != 0;
    const uint32_t place = shared_address(values ? shared.v[stage] : shared.k[stage]);
    barrier_wait(shared_address(values ? &shared.v_copied[stage] : &shared.k_copied[stage]), part / 2 / kStages % 2);
    __syncwarp();
    // A thread has one chunk of every sixteenth row.
    const int chunk = thread % 8;
#pragma unroll 1
    for (int first = 0; first < kTile; first += kTile / 2) {
      uint4 sixteen[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sixteen[i] = load_16(place + kTileBlockBytes + swizzled(first + i * 16 + thread / 8, chunk));
      sync_threads<kWarpgroup>(3);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = first + i * 16 + thread / 8;
        uint4 chunks[2];
        Fp8Cache::widen_chunk(chunks, sixteen[i], values);
        // The second block's threads begin with their second chunk: other banks.
        const bool second = chunk >= 4;
        const uint32_t block = place + (second ? kTileBlockBytes : 0);
        store_16(block + swizzled(key, chunk % 4 * 2 + second), second ? chunks[1] : chunks[0]);
        store_16(block + swizzled(key, chunk % 4 * 2 + !second), second ? chunks[0] : chunks[1]);
      }
    }
    fence_async_proxy();
    __syncwarp();
    if (thread % 32 == 0) barrier_arrive(shared_address(values ? &shared.v_full[stage] : &shared.k_full[stage]));
  }
}

}  // namespace
}  // namespace qwill::cuda
