// stream_fp8: y[t, n] = ws[n] sum_b as[t, b] sum over k of block b of a[t, k] w[n, k] (fp8.h) for T <= 2 rows: every
// weight is read once, at the rate of the memory.
//
// As stream.cu, but a stream is a warpgroup's: e4m3 is multiplied by wgmma alone (mma.sync sums it differently), 16
// weight rows and four blocks of 128 columns at once (fp8_tile.cuh): the same bits as gemm_fp8.cu gives. Two row blocks
// follow each other in memory, and are gate and up for silu_mul. A warp for each warpgroup loads: by a thread of the
// warpgroup itself a copy takes 180 ns of its time. Every block of threads norms and quantises the operand for itself,
// so that no other kernel stands between two weights; the rings are filled before the kernel waits for the one before
// it, and two blocks fit an SM.
//
// Moves the weight's bytes + T K 4 bytes a block from L2; bound by memory.
//
// reference: ops/reference.cpp norm_linear, linear_add, norm_gated_mlp
// test and bench: bench/cuda/bench_fp8.cu
#include <algorithm>

#include "cuda/kernels/fp8_tile.cuh"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/stream_fp8.h"

namespace qwill::cuda {
namespace {

constexpr int kThreads = kFp8Threads + kFp8Groups * 32;
static_assert(kFp8Threads == kFp8Groups * 128);
constexpr int kMaxSlots = 16;             // of all rings
constexpr int kEarlyBytes = 8 * 1024;     // of a block under way at once while the rings are filled
constexpr int kBlockShared = 113 * 1024;  // two blocks and their reserved kilobyte each fit an SM
constexpr int kFixedShared = 1024;        // barriers and scratch; the rings are aligned to atoms

struct Shared {
  uint64_t full[kMaxSlots], empty[kMaxSlots];
  float scratch[8];
};
static_assert(sizeof(Shared) <= kFixedShared);

struct Params {
  StreamCall call;
  int32_t num_units;
  int32_t groups;           // warpgroups that multiply
  int32_t slots_per_group;  // of its ring
  int32_t early_slots;      // of them under way at once while the ring is filled
};

// The units of one warpgroup of a block. A block's units lie one behind the other: its multiprocessor then needs few
// translations of addresses.
struct Units {
  int32_t first, end;
  __device__ __forceinline__ Units(const Params& p, int group) {
    const auto border = [&](int64_t block) { return static_cast<int32_t>(block * p.num_units / gridDim.x); };
    end = border(blockIdx.x + 1);
    first = border(blockIdx.x) + group;
  }
};

// A warpgroup's ring, and where in it its loader or itself is.
struct GroupRing {
  uint32_t slots, full, empty;  // addresses
  int32_t num_slots, place = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ GroupRing(const Params& p, Shared& shared, char* ring, int group)
      : slots(shared_address(ring) + group * p.slots_per_group * kFp8SlotBytes),
        full(shared_address(&shared.full[group * p.slots_per_group])),
        empty(shared_address(&shared.empty[group * p.slots_per_group])),
        num_slots(p.slots_per_group) {}
  __device__ __forceinline__ void advance() {
    if (++place == num_slots) place = 0, parity ^= 1;
  }
};

// By one warp for each warpgroup: fills its ring, and again whatever it has read.
__device__ __forceinline__ void load_weights(const Params& p, Shared& shared, char* ring, int group) {
  const auto col_blocks = static_cast<int32_t>(Fp8Layout::of(p.call.layout).col_blocks);
  const Units units(p, group);
  GroupRing at(p, shared, ring, group);
  int32_t loaded = 0;
#pragma unroll 1
  for (int32_t unit = units.first; unit < units.end; unit += p.groups) {
    const char* rows =
        static_cast<const char*>(p.call.weight) + static_cast<int64_t>(kFp8UnitBlocks * unit) * col_blocks * kAtomBytes;
    const bool both = kFp8UnitBlocks * unit + 1 < p.call.layout.row_blocks;
#pragma unroll 1
    for (int32_t first = 0; first < col_blocks; first += kFp8SlotAtoms, at.advance(), ++loaded) {
      const uint32_t bytes = static_cast<uint32_t>(min(col_blocks - first, kFp8SlotAtoms)) * kAtomBytes;
      if (loaded >= at.num_slots)
        barrier_wait(at.empty + 8 * at.place, at.parity ^ 1);
      else if (loaded >= p.early_slots)
        barrier_wait(at.full + 8 * (loaded - p.early_slots), 0);
      if (elect_lane()) {
        const char* from = rows + static_cast<int64_t>(first) * kAtomBytes;
        const uint32_t slot = at.slots + at.place * kFp8SlotBytes, barrier = at.full + 8 * at.place;
        barrier_expect_bytes(barrier, both ? 2 * bytes : bytes);
        copy_bulk(slot, from, bytes, barrier);
        if (both) copy_bulk(slot + kFp8HalfSlot, from + static_cast<int64_t>(col_blocks) * kAtomBytes, bytes, barrier);
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 2) stream_kernel(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) char shared_memory[];
  Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
  char* ring = shared_memory + kFixedShared;
  const int num_slots = p.groups * p.slots_per_group;
  const StreamCall& c = p.call;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;

  let_next_kernel_start();
  if (warp == kFp8Threads / 32) {
    if (lane < num_slots) {
      barrier_init(shared_address(&shared.full[lane]), 1);
      barrier_init(shared_address(&shared.empty[lane]), 4);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (warp >= kFp8Threads / 32) {
    const int group = warp - kFp8Threads / 32;
    if (group < p.groups) load_weights(p, shared, ring, group);
    wait_for_previous_kernel();
    return;
  }
  const Fp8Operand operand(ring + num_slots * kFp8SlotBytes, c, c.num_rows);
  operand.load(c, shared.scratch, threadIdx.x, [] { wait_for_previous_kernel(); });
  wait_for_previous_kernel();
  sync_threads<kFp8Threads>(2);

  const int group = warp / 4;
  const Units units(p, group);
  if (group >= p.groups) return;
  GroupRing at(p, shared, ring, group);
  const PlainOutputs outputs{c};
  int32_t turn = 0;
#pragma unroll 1
  for (int32_t unit = units.first; unit < units.end; unit += p.groups) {
    Fp8Tile tile(c, operand, unit, warp, lane);
    tile.multiply(
        turn,
        [&] {
          barrier_wait(at.full + 8 * at.place, at.parity);
          return at.slots + at.place * kFp8SlotBytes;
        },
        [&] {
          if (lane == 0) barrier_arrive(at.empty + 8 * at.place);
          at.advance();
        });
    tile.write(outputs);
  }
}

struct Plan {
  int32_t blocks = 0;
  size_t shared_bytes = 0;
  Params params;
};

Plan plan_stream(const StreamCall& call, int32_t num_sms) {
  Plan plan;
  Params& p = plan.params;
  p.call = call;
  p.num_units = static_cast<int32_t>((call.layout.row_blocks + kFp8UnitBlocks - 1) / kFp8UnitBlocks);
  plan.blocks = std::min(num_sms, p.num_units);
  p.groups = std::min(kFp8Groups, (p.num_units + plan.blocks - 1) / plan.blocks);
  const int64_t operand = fp8_operand_bytes(call.layout, call.num_rows);
  const int64_t room = std::max<int64_t>(0, kBlockShared - kFixedShared - operand) / kFp8SlotBytes;
  p.slots_per_group = static_cast<int32_t>(std::min<int64_t>(room, kMaxSlots)) / p.groups;
  p.early_slots = std::max(1, kEarlyBytes / kFp8SlotBytes / p.groups);
  plan.shared_bytes = static_cast<size_t>(kFixedShared + p.groups * p.slots_per_group * kFp8SlotBytes + operand);
  return plan;
}

}  // namespace

bool stream_fp8_fits(const StreamCall& call, int32_t num_sms) {
  return call.num_rows <= kMaxFp8StreamRows && (!call.norm || call.cols <= kMaxNormCols) &&
         plan_stream(call, num_sms).params.slots_per_group >= 2;
}

cudaError_t prepare_stream_fp8() { return allow_shared(stream_kernel, kBlockShared); }

cudaError_t stream_fp8(const StreamCall& call, int32_t num_sms, cudaStream_t cuda_stream) {
  const Plan plan = plan_stream(call, num_sms);
  return launch(stream_kernel, static_cast<unsigned>(plan.blocks), kThreads, plan.shared_bytes, cuda_stream,
                plan.params);
}

}  // namespace qwill::cuda
