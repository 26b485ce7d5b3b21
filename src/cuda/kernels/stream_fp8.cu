// stream_fp8: y[t, n] = ws[n] sum_b as[t, b] sum over k of block b of a[t, k] w[n, k] (fp8.h) for T <= 8 rows: every
// weight is read once, at the rate of the memory.
//
// As stream.cu, but a stream is a warpgroup's: e4m3 is multiplied by wgmma alone (mma.sync sums it differently). Tokens
// are its M operand, from the registers of the first warp (of 64 rows all but T are zeros), 16 weight rows its N
// operand, from a ring in shared memory: the same bits as gemm_fp8.cu gives. Two row blocks follow each other in
// memory, and are gate and up for silu_mul. A chunk of the ring is four blocks of 128 columns of both; a warpgroup
// multiplies two, each from a fresh start, before it waits: with one their latency would bind, for four the registers
// do not suffice. A warp for each warpgroup loads: by a thread of the warpgroup itself a copy takes 180 ns of its time.
// Every block of threads norms and quantises the operand for itself, so that no other kernel stands between two
// weights; the rings are filled before the kernel waits for the one before it, and two blocks fit an SM. Moves the
// weight's bytes + T K 4 bytes a block from L2; bound by memory. reference: ops/reference.cpp norm_linear, linear_add,
// norm_gated_mlp    test and bench: bench/cuda/bench_fp8.cu
#include <algorithm>

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/fp8_value.cuh"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/row_norm.cuh"
#include "cuda/kernels/stream_fp8.h"
#include "cuda/kernels/wgmma.cuh"

namespace qwill::cuda {
namespace {

constexpr int kMaxGroups = kNormThreads / 128;  // warpgroups that multiply; three would lack registers
constexpr int kMultiplying = kMaxGroups * 128, kThreads = kMultiplying + kMaxGroups * 32;
constexpr int kUnitBlocks = 2;  // row blocks of a unit
constexpr int kUnitRows = kUnitBlocks * static_cast<int>(kAtomRows);
constexpr int kSlotAtoms = 4;  // of each row block in a chunk
constexpr int kTogether = 2;   // column blocks multiplied before a wait
constexpr int kHalfSlot = kSlotAtoms * static_cast<int>(kAtomBytes);
constexpr int kSlotBytes = kUnitBlocks * kHalfSlot;
constexpr int kMaxSlots = 16;             // of all rings
constexpr int kEarlyBytes = 8 * 1024;     // of a block under way at once while the rings are filled
constexpr int kBlockShared = 113 * 1024;  // two blocks and their reserved kilobyte each fit an SM
constexpr int kFixedShared = 1024;        // barriers and scratch; the rings are aligned to atoms

struct Shared {
  uint64_t full[kMaxSlots], empty[kMaxSlots];
  float scratch[8];
};
static_assert(sizeof(Shared) <= kFixedShared);

// The operand: rows of e4m3, 16 bytes apart for the sake of the banks, then the scales of all rows.
QWILL_HOST_DEVICE constexpr int32_t operand_stride(const Fp8StreamCall& call) {
  return static_cast<int32_t>(call.layout.padded_cols()) + 16;
}
QWILL_HOST_DEVICE constexpr int64_t operand_bytes(const Fp8StreamCall& call) {
  return call.num_rows * (operand_stride(call) + call.layout.col_blocks * 4);
}

struct Params {
  Fp8StreamCall call;
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
struct RingPlace {
  uint32_t slots, full, empty;  // addresses
  int32_t num_slots, place = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ RingPlace(const Params& p, Shared& shared, char* ring, int group)
      : slots(shared_address(ring) + group * p.slots_per_group * kSlotBytes),
        full(shared_address(&shared.full[group * p.slots_per_group])),
        empty(shared_address(&shared.empty[group * p.slots_per_group])),
        num_slots(p.slots_per_group) {}
  __device__ __forceinline__ void advance() {
    if (++place == num_slots) place = 0, parity ^= 1;
  }
};

// By one warp for each warpgroup: fills its ring, and again whatever it has read.
__device__ __forceinline__ void load_weights(const Params& p, Shared& shared, char* ring, int group) {
  const auto col_blocks = static_cast<int32_t>(p.call.layout.col_blocks);
  const Units units(p, group);
  RingPlace at(p, shared, ring, group);
  int32_t loaded = 0;
#pragma unroll 1
  for (int32_t unit = units.first; unit < units.end; unit += p.groups) {
    const char* rows =
        static_cast<const char*>(p.call.weight) + static_cast<int64_t>(kUnitBlocks * unit) * col_blocks * kAtomBytes;
    const bool both = kUnitBlocks * unit + 1 < p.call.layout.row_blocks;
#pragma unroll 1
    for (int32_t first = 0; first < col_blocks; first += kSlotAtoms, at.advance(), ++loaded) {
      const uint32_t bytes = static_cast<uint32_t>(min(col_blocks - first, kSlotAtoms)) * kAtomBytes;
      if (loaded >= at.num_slots)
        barrier_wait(at.empty + 8 * at.place, at.parity ^ 1);
      else if (loaded >= p.early_slots)
        barrier_wait(at.full + 8 * (loaded - p.early_slots), 0);
      if (elect_lane()) {
        const char* from = rows + static_cast<int64_t>(first) * kAtomBytes;
        const uint32_t slot = at.slots + at.place * kSlotBytes, barrier = at.full + 8 * at.place;
        barrier_expect_bytes(barrier, both ? 2 * bytes : bytes);
        copy_bulk(slot, from, bytes, barrier);
        if (both) copy_bulk(slot + kHalfSlot, from + static_cast<int64_t>(col_blocks) * kAtomBytes, bytes, barrier);
      }
    }
  }
}

// By a warp, four columns a lane: a block of 128 columns of row t.
__device__ __forceinline__ void put_block(const Fp8StreamCall& c, char* operand, int32_t t, int32_t block,
                                          const float4& v) {
  const int lane = threadIdx.x % 32;
  const Fp8Block q = quantize_block(v);
  *reinterpret_cast<uint32_t*>(operand + t * operand_stride(c) + block * 128 + 4 * lane) = q.bytes;
  auto* scales = reinterpret_cast<float*>(operand + c.num_rows * operand_stride(c));
  if (lane == 0) scales[t * c.layout.col_blocks + block] = q.scale;
}

__device__ __forceinline__ void load_operand(const Fp8StreamCall& c, char* operand, Shared& shared) {
  const auto blocks = static_cast<int32_t>(c.layout.col_blocks);
  if (c.norm) {
    const int thread = threadIdx.x;
    RowSlice weight;
    weight.load(c.norm, c.cols, thread);  // constant, as weights are
    wait_for_previous_kernel();
#pragma unroll 1
    for (int32_t t = 0; t < c.num_rows; ++t) {
      RowSlice x;
      x.load(c.x + static_cast<int64_t>(t) * c.cols, c.cols, thread);
      const float inverse = inverse_rms(x, c.cols, c.eps, shared.scratch, thread);
#pragma unroll
      for (int j = 0; j < kNormVectors; ++j) {
        const int block = thread / 32 + kNormThreads / 32 * j;
        if (block < blocks) put_block(c, operand, t, block, scaled(x.values[j], inverse, weight.values[j]));
      }
      sync_threads<kNormThreads>(1);  // scratch is free again
    }
    return;
  }
  wait_for_previous_kernel();
  constexpr int kBatch = 4;  // blocks of a warp under way at once
  constexpr int kWarps = kMultiplying / 32;
  const int warp = threadIdx.x / 32, col = threadIdx.x % 32 * 4;
  const int32_t all = blocks * c.num_rows;
#pragma unroll 1
  for (int32_t first = warp; first < all; first += kBatch * kWarps) {
    uint2 four[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int32_t at = first + i * kWarps, t = at / blocks, from = at % blocks * 128 + col;
      four[i] = make_uint2(0, 0);
      if (at < all && from < c.a_stride)
        four[i] = *reinterpret_cast<const uint2*>(static_cast<const bfloat*>(c.a) + t * c.a_stride + from);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int32_t at = first + i * kWarps;
      if (at < all) put_block(c, operand, at / blocks, at % blocks, widen_4(four[i]));
    }
  }
}

// Lane l has outputs of row l / 4: rows 2 (l % 4) and the next of both row blocks of the unit.
template <StreamOutput kOutput>
__device__ __forceinline__ float2 read_outputs(const Fp8StreamCall& c, int32_t n, int32_t t) {
  if (kOutput != StreamOutput::add || t >= c.num_rows) return {};
  const float* y = static_cast<const float*>(c.y) + t * c.ldy + n;
  return {n < c.num_outputs ? y[0] : 0, n + 1 < c.num_outputs ? y[1] : 0};
}
template <StreamOutput kOutput>
__device__ __forceinline__ void write_outputs(const Fp8StreamCall& c, int32_t n, int32_t t, float2 sums,
                                              float2 before) {
  if (t >= c.num_rows) return;
  float* y = static_cast<float*>(c.y) + t * c.ldy + n;
  const bool add = kOutput == StreamOutput::add;
  if (n < c.num_outputs) y[0] = add ? __fadd_rn(before.x, sums.x) : sums.x;
  if (n + 1 < c.num_outputs) y[1] = add ? __fadd_rn(before.y, sums.y) : sums.y;
}

template <StreamOutput kOutput>
__global__ void __launch_bounds__(kThreads, 2) stream_kernel(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) char shared_memory[];
  Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
  char* ring = shared_memory + kFixedShared;
  const int num_slots = p.groups * p.slots_per_group;
  char* operand = ring + num_slots * kSlotBytes;
  const Fp8StreamCall& c = p.call;
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;

  let_next_kernel_start();
  if (warp == kMultiplying / 32) {
    if (lane < num_slots) {
      barrier_init(shared_address(&shared.full[lane]), 1);
      barrier_init(shared_address(&shared.empty[lane]), 4);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (warp >= kMultiplying / 32) {
    const int group = warp - kMultiplying / 32;
    if (group < p.groups) load_weights(p, shared, ring, group);
    wait_for_previous_kernel();
    return;
  }
  load_operand(c, operand, shared);
  wait_for_previous_kernel();
  sync_threads<kMultiplying>(2);

  const int group = warp / 4;
  const bool has_rows = warp % 4 == 0;  // the warp that has the tokens, and their sums
  const auto col_blocks = static_cast<int32_t>(c.layout.col_blocks);
  const int32_t t = lane / 4, col = lane % 4 * 4, pair = lane % 4 * 2;
  const bool real = has_rows && t < c.num_rows;
  const char* a_row = operand + (real ? t : 0) * operand_stride(c) + col;
  const float* a_scales =
      reinterpret_cast<const float*>(operand + c.num_rows * operand_stride(c)) + (real ? t : 0) * col_blocks;
  // Of a column block's fragments: four bytes of the lane's row, and four sixteen columns further.
  const auto load_a = [&](uint32_t(&a)[4], int32_t block, int step) {
    const char* at = a_row + block * 128 + step * 32;
    a[0] = real ? *reinterpret_cast<const uint32_t*>(at) : 0;
    a[2] = real ? *reinterpret_cast<const uint32_t*>(at + 16) : 0;
    a[1] = a[3] = 0;
  };

  const Units units(p, group);
  if (group >= p.groups) return;
  RingPlace at(p, shared, ring, group);
#pragma unroll 1
  for (int32_t unit = units.first; unit < units.end; unit += p.groups) {
    const int32_t n = unit * kUnitRows + pair;
    float2 before[kUnitBlocks] = {}, weight_scale[kUnitBlocks] = {};
    if (has_rows) {
#pragma unroll
      for (int b = 0; b < kUnitBlocks; ++b) {
        before[b] = read_outputs<kOutput>(c, n + 8 * b, t);
        if (unit * kUnitBlocks + b < c.layout.row_blocks)
          weight_scale[b] = __ldg(reinterpret_cast<const float2*>(c.weight_scales + n + 8 * b));
      }
    }
    float2 sums[kUnitBlocks] = {};
#pragma unroll 1
    for (int32_t first = 0; first < col_blocks; first += kSlotAtoms, at.advance()) {
      const int32_t atoms = min(col_blocks - first, kSlotAtoms);
      barrier_wait(at.full + 8 * at.place, at.parity);
      // Row blocks are half a slot apart; behind the last atom of a short chunk old ones are multiplied in vain.
      const uint64_t b = atom_descriptor_apart(at.slots + at.place * kSlotBytes, kHalfSlot);
#pragma unroll
      for (int half = 0; half < kSlotAtoms; half += kTogether) {
        if (half >= atoms) break;
        uint32_t a[kTogether][4][4];
#pragma unroll
        for (int i = 0; i < kTogether; ++i)
#pragma unroll
          for (int step = 0; step < 4; ++step) load_a(a[i][step], min(first + half + i, col_blocks - 1), step);
        float block[kTogether][kUnitRows / 2];
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < kTogether; ++i)
#pragma unroll
          for (int step = 0; step < 4; ++step)
            wgmma_fp8(block[i], a[i][step], b + descriptor_step((half + i) * kAtomBytes) + step * kDescriptorK32Fp8,
                      step > 0);
        wgmma_commit();
#pragma unroll
        for (int i = 0; i < kTogether; ++i) wgmma_wait<0>(block[i]);
        if (!has_rows) continue;
#pragma unroll
        for (int i = 0; i < kTogether; ++i) {
          if (half + i >= atoms) break;
          const float scale = a_scales[first + half + i];
#pragma unroll
          for (int r = 0; r < kUnitBlocks; ++r) {
            sums[r].x = __fmaf_rn(block[i][4 * r], scale, sums[r].x);
            sums[r].y = __fmaf_rn(block[i][4 * r + 1], scale, sums[r].y);
          }
        }
      }
      __syncwarp();
      if (lane == 0) barrier_arrive(at.empty + 8 * at.place);
    }
    if (!has_rows) continue;
#pragma unroll
    for (int b = 0; b < kUnitBlocks; ++b)
      sums[b] = {__fmul_rn(sums[b].x, weight_scale[b].x), __fmul_rn(sums[b].y, weight_scale[b].y)};
    if constexpr (kOutput == StreamOutput::silu_mul) {
      const int32_t to = unit * 8 + pair;
      if (t < c.num_rows && to < c.ldy)
        *reinterpret_cast<uint32_t*>(static_cast<bfloat*>(c.y) + t * c.ldy + to) =
            pack_bf16(silu_times(sums[0].x, sums[1].x), silu_times(sums[0].y, sums[1].y));
    } else {
#pragma unroll
      for (int b = 0; b < kUnitBlocks; ++b) write_outputs<kOutput>(c, n + 8 * b, t, sums[b], before[b]);
    }
  }
}

struct Plan {
  int32_t blocks = 0;
  size_t shared_bytes = 0;
  Params params;
};

Plan plan_stream(const Fp8StreamCall& call, int32_t num_sms) {
  Plan plan;
  Params& p = plan.params;
  p.call = call;
  p.num_units = static_cast<int32_t>((call.layout.row_blocks + kUnitBlocks - 1) / kUnitBlocks);
  plan.blocks = std::min(num_sms, p.num_units);
  p.groups = std::min(kMaxGroups, (p.num_units + plan.blocks - 1) / plan.blocks);
  const int64_t operand = operand_bytes(call);
  const int64_t room = std::max<int64_t>(0, kBlockShared - kFixedShared - operand) / kSlotBytes;
  p.slots_per_group = static_cast<int32_t>(std::min<int64_t>(room, kMaxSlots)) / p.groups;
  p.early_slots = std::max(1, kEarlyBytes / kSlotBytes / p.groups);
  plan.shared_bytes = static_cast<size_t>(kFixedShared + p.groups * p.slots_per_group * kSlotBytes + operand);
  return plan;
}

template <StreamOutput kOutput>
cudaError_t launch_stream(const Plan& plan, cudaStream_t cuda_stream) {
  return launch(stream_kernel<kOutput>, static_cast<unsigned>(plan.blocks), kThreads, plan.shared_bytes, cuda_stream,
                plan.params);
}

}  // namespace

bool stream_fp8_fits(const Fp8StreamCall& call, int32_t num_sms) {
  return call.num_rows <= kMaxFp8StreamRows && (!call.norm || call.cols <= kMaxNormCols) &&
         plan_stream(call, num_sms).params.slots_per_group >= 2;
}

cudaError_t prepare_stream_fp8() {
  for (const auto kernel :
       {stream_kernel<StreamOutput::store>, stream_kernel<StreamOutput::add>, stream_kernel<StreamOutput::silu_mul>})
    if (const cudaError_t error = allow_shared(kernel, kBlockShared); error != cudaSuccess) return error;
  return cudaSuccess;
}

cudaError_t stream_fp8(const Fp8StreamCall& call, int32_t num_sms, cudaStream_t cuda_stream) {
  const Plan plan = plan_stream(call, num_sms);
  switch (call.output) {
    case StreamOutput::store: return launch_stream<StreamOutput::store>(plan, cuda_stream);
    case StreamOutput::add: return launch_stream<StreamOutput::add>(plan, cuda_stream);
    case StreamOutput::silu_mul: return launch_stream<StreamOutput::silu_mul>(plan, cuda_stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace qwill::cuda
