// stream: y[t, n] = sum_k a[t, k] w[n, k] for T <= 8 rows: every weight is read once, at the rate of the memory.
//
// Each warp owns tiles of 8 weight rows (for silu_mul: 8 gate rows and their 8 up rows; with four bits always two
// tiles) over all of K, which lie in one contiguous run, and streams them through a ring of its own in shared memory
// with the copy engine: no warp waits for another. Weights are the N operand of mma.m16n8k16 (with four bits the M
// operand), the rows of a the other (padded with zeros), K in order from a zero accumulator: the same bits as any other
// tensor-core kernel gives (docs/performance.md).
//
// The rings are filled before the kernel waits for the one before it, and two blocks fit an SM: so the memory never
// rests between kernels. But little of that is under way at once: the operand, which every block loads (and norms) for
// itself when the kernel before has ended, would else queue behind it for microseconds.
//
// Weights of four bits (tensor/int4.h) become bf16 in registers: 16 bytes are a lane's fragments of 128 columns. Their
// sums are those of slices of the columns (Int4Layout), added in order.
//
// Moves the weight's bytes, and T K 4 bytes a block from the L2 cache; bound by memory. With four bits the K / 16
// products of a tile, each of which waits for the one before, may take longer.
//
// reference: ops/reference.cpp norm_linear, linear_add, norm_gated_mlp
// test and bench: bench/cuda/bench_stream.cu, of four bits bench/cuda/bench_int4.cu
#include <algorithm>

#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/stream_format.cuh"
#include "cuda/kernels/stream_fp8.h"

namespace qwill::cuda {
namespace {

constexpr int kMaxWarps = 16;             // with the one that fills the rings
constexpr int kMaxSlots = 28;             // of all rings
constexpr int kEarlyBytes = 8 * 1024;     // of a block under way at once while the rings are filled
constexpr int kBlockShared = 113 * 1024;  // two blocks and their reserved kilobyte each fit an SM
constexpr int kWholeShared = 227 * 1024;  // or one: for operands that leave no room
constexpr int kFixedShared = 512;         // barriers, scratch, a row of zeros

struct Shared {
  uint64_t full[kMaxSlots];
  uint64_t filled;  // every ring, for the first time
  float scratch[8];
  uint4 zeros;
};
static_assert(sizeof(Shared) <= kFixedShared);

struct Params {
  StreamCall call;
  int32_t num_tiles;       // of 8 rows
  int32_t num_units;       // tiles, or pairs of tiles, by the format and for silu_mul
  int32_t busy_warps;      // that multiply
  int32_t slots_per_warp;  // of its ring
  int32_t early_slots;     // of them under way at once while the ring is filled
  int32_t slice_blocks;    // of a format with slices
};

using Bf16 = Bf16Format<4>;
using Int4 = Int4Format<8, OperandOfRows>;

// One warp's stream: its tiles, slice after slice of their columns, chunk after chunk, and its ring.
template <typename Format, bool kPair>
struct Stream {
  static constexpr int kUnits = kPair ? Format::kSlotUnits / 2 : Format::kSlotUnits;  // columns of a chunk
  static constexpr int kSlotBytes = Format::kSlotBytes;
  const Params& p;
  int32_t col_blocks, slice_blocks;         // units of a tile's columns
  uint32_t slots, full;                     // addresses of the ring and its barriers
  int32_t unit, end, first = 0, place = 0;  // next to be loaded, behind the block's last, and where to

  __device__ __forceinline__ Stream(const Params& params, Shared& shared, char* ring, int warp) : p(params) {
    col_blocks = (steps() + Format::kUnitSteps - 1) / Format::kUnitSteps;
    slice_blocks = Format::kSlices ? p.slice_blocks : col_blocks;
    // A block's tiles lie one behind the other: its multiprocessor then needs few translations of addresses.
    const auto border = [&](int64_t block) { return static_cast<int32_t>(block * p.num_units / gridDim.x); };
    end = border(blockIdx.x + 1);
    slots = shared_address(ring) + warp * p.slots_per_warp * kSlotBytes;
    full = shared_address(&shared.full[warp * p.slots_per_warp]);
    unit = warp < p.busy_warps ? border(blockIdx.x) + warp : end;
  }
  __device__ __forceinline__ bool done() const { return unit >= end; }
  // Columns by 32.
  __device__ __forceinline__ int32_t steps() const { return static_cast<int32_t>(p.call.layout.col_blocks) * 2; }

  // Starts the next chunk.
  __device__ __forceinline__ void load() {
    const uint32_t bytes = static_cast<uint32_t>(chunk_end(first) - first) * Format::kUnitBytes;
    const auto address = [&](int64_t tile) {
      return static_cast<const char*>(p.call.weight) + (tile * col_blocks + first) * Format::kUnitBytes;
    };
    const uint32_t slot = slots + place * kSlotBytes, barrier = full + 8 * place;
    barrier_expect_bytes(barrier, kPair ? 2 * bytes : bytes);
    copy_bulk(slot, address(kPair ? 2 * unit : unit), bytes, barrier);
    // The last tile may be alone: whatever stands beside it has no outputs.
    if (kPair) copy_bulk(slot + kSlotBytes / 2, address(min(2 * unit + 1, p.num_tiles - 1)), bytes, barrier);
    advance();
  }
  __device__ __forceinline__ void advance() {
    if (++place == p.slots_per_warp) place = 0;
    first = chunk_end(first);
    if (first < col_blocks) return;
    first = 0;
    unit += p.busy_warps;
  }
  // Behind the chunk that begins there: kUnits on, but none goes beyond its slice.
  __device__ __forceinline__ int32_t chunk_end(int32_t begin) const {
    int32_t end_of_it = min(begin + kUnits, col_blocks);
    if (Format::kSlices) end_of_it = min(end_of_it, (begin / slice_blocks + 1) * slice_blocks);
    return end_of_it;
  }
};

// The operand's rows as bf16 in shared memory, each with 16 bytes of padding.
template <bool kFours>
__device__ __forceinline__ void load_operand(const StreamCall& c, bfloat* operand, Shared& shared, int num_threads) {
  const int32_t padded = static_cast<int32_t>(c.layout.padded_cols()), row_stride = padded + 8;
  if (c.norm) {
    const int thread = threadIdx.x;
    if (thread >= kNormThreads) return;
    RowSlice weight;
    weight.load(c.norm, c.cols, thread);  // constant, as weights are
    wait_for_previous_kernel();
    for (int32_t t = 0; t < c.num_rows; ++t) {
      RowSlice x;
      x.load(c.x + static_cast<int64_t>(t) * c.cols, c.cols, thread);
      const float inverse = inverse_rms(x, c.cols, c.eps, shared.scratch, thread);
      store_normed<kFours>(operand + t * row_stride, x, inverse, weight, padded, thread);
      sync_threads<kNormThreads>(1);  // scratch is free again
    }
  } else {
    wait_for_previous_kernel();
    for (int32_t t = 0; t < c.num_rows; ++t)
      for (int32_t i = threadIdx.x; i < padded / 8; i += num_threads) {
        const uint4 v =
            reinterpret_cast<const uint4*>(static_cast<const bfloat*>(c.a) + static_cast<int64_t>(t) * padded)[i];
        if constexpr (kFours) {
          put_four<kFours>(operand + t * row_stride, 8 * i, v.x, v.y);
          put_four<kFours>(operand + t * row_stride, 8 * i + 4, v.z, v.w);
        } else {
          reinterpret_cast<uint4*>(operand + t * row_stride)[i] = v;
        }
      }
  }
}

template <typename Format, bool kPair>
__global__ void __launch_bounds__(kMaxWarps * 32, 2) stream_kernel(const __grid_constant__ Params p) {
  constexpr int kSlotBytes = Format::kSlotBytes;
  extern __shared__ __align__(1024) char shared_memory[];
  Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
  char* ring = shared_memory + kFixedShared;
  const int num_slots = p.busy_warps * p.slots_per_warp;
  bfloat* operand = reinterpret_cast<bfloat*>(ring + num_slots * kSlotBytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, filler = blockDim.x / 32 - 1;

  let_next_kernel_start();
  if (warp == filler) {
    if (lane < num_slots) barrier_init(shared_address(&shared.full[lane]), 1);
    if (lane == 0) barrier_init(shared_address(&shared.filled), 1);
    barrier_init_fence();
  }
  if (threadIdx.x == 0) shared.zeros = make_uint4(0, 0, 0, 0);
  __syncthreads();
  if (warp == filler) {  // each lane fills one warp's ring
    Stream<Format, kPair> stream(p, shared, ring, lane);
    for (int s = 0; s < p.slots_per_warp; ++s) {
      if (stream.done()) break;
      if (s >= p.early_slots) barrier_wait(stream.full + 8 * (s - p.early_slots), 0);
      stream.load();
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_address(&shared.filled));
    wait_for_previous_kernel();
    return;
  }
  load_operand<Format::kFours>(p.call, operand, shared, filler * 32);
  wait_for_previous_kernel();
  asm volatile("bar.sync 2, %0;" ::"r"(filler * 32) : "memory");

  Stream<Format, kPair> stream(p, shared, ring, warp);
  const OperandAddress a = Format::operand_address(shared_address(operand), stream.steps() * 64 + 16, p.call.num_rows,
                                                   shared_address(&shared.zeros), lane);

  const PlainOutputs outputs{p.call};
  const int32_t first_unit = stream.unit;
  for (int s = 0; s < p.slots_per_warp && !stream.done(); ++s) stream.advance();  // as the filler did
  int place = 0;
  uint32_t parity = 0;
  bool filled = false;
  for (int32_t unit = first_unit; unit < stream.end; unit += p.busy_warps) {
    typename Format::template Tile<kPair> tile(p.call, unit, lane);
    for (int32_t begin = 0, next; begin < stream.col_blocks; begin = next) {
      next = stream.chunk_end(begin);
      const uint32_t data = stream.slots + place * kSlotBytes;
      const int32_t first_step = begin * Format::kUnitSteps;
      const int32_t steps = min(stream.steps(), next * Format::kUnitSteps) - first_step;
      const uint32_t a_address = a.address + static_cast<uint32_t>(first_step) * 2 * a.step;
      barrier_wait(stream.full + 8 * place, parity);
      tile.multiply(data, a_address, a.step, steps, lane);
      if constexpr (Format::kSlices)
        if (next % stream.slice_blocks == 0 || next == stream.col_blocks)
          tile.fold(p.call, next <= stream.slice_blocks);
      __syncwarp();
      if (!stream.done()) {
        if (lane == 0) {
          // A slot that was filled twice while the filler looks away would seem empty to it, and it would wait for
          // ever.
          if (!filled) barrier_wait(shared_address(&shared.filled), 0);
          filled = true;
          stream.load();
        } else {
          stream.advance();
        }
      }
      if (++place == p.slots_per_warp) {
        place = 0;
        parity ^= 1;
      }
    }
    tile.template write<kMaxStreamCallRows>(p.call, outputs, unit, lane);
  }
}

struct Plan {
  bool fits = false;
  int32_t blocks = 0, threads = 0;
  size_t shared_bytes = 0;
  Params params;
};

Plan plan_stream(const StreamCall& call, int32_t num_sms) {
  Plan plan;
  Params& p = plan.params;
  p.call = call;
  const bool int4 = call.format == StreamFormat::int4;
  p.num_tiles = static_cast<int32_t>(call.layout.row_blocks);
  const bool gated = call.output == StreamOutput::silu_mul;
  p.num_units = int4 || gated ? (p.num_tiles + 1) / 2 : p.num_tiles;
  const Int4Layout packed = Int4Layout::of(call.layout);
  p.slice_blocks = static_cast<int32_t>(gated ? packed.col_blocks : packed.slice_blocks());
  plan.blocks = std::min(num_sms, p.num_units);
  const int64_t operand = call.num_rows * stream_row_bytes(call.layout.padded_cols());
  const int32_t slot_bytes = int4 ? Int4::kSlotBytes : Bf16::kSlotBytes;
  // As many warps as divide a block's tiles into equal rounds, the fewest that leave every warp two slots, or three
  // where that takes few more; the norm may need more warps. Where two would take more than twice the rounds of all
  // warps, too little would be under way.
  const int32_t per_block = (p.num_units + plan.blocks - 1) / plan.blocks;
  const auto rounds_of = [&](int32_t warps) { return (per_block + warps - 1) / warps; };
  const auto slots_within = [&](int32_t shared) {
    const int64_t room = std::max<int64_t>(0, shared - kFixedShared - operand) / slot_bytes;
    return static_cast<int32_t>(std::min<int64_t>(room, kMaxSlots));
  };
  const auto rounds_with = [&](int32_t slots, int32_t slots_each) {
    return rounds_of(std::clamp(slots / slots_each, 1, kMaxWarps - 1));
  };
  // Four bits are worth a multiprocessor's whole memory, if that takes fewer rounds or is what it takes to fit.
  int32_t slots = slots_within(kBlockShared);
  const int32_t most = slots_within(kWholeShared);
  if (int4 && (slots < 2 || rounds_with(most, 2) < rounds_with(slots, 2))) slots = most;
  const int32_t of_two = rounds_with(slots, 2), of_three = rounds_with(slots, 3),
                rounds = 8 * of_three <= 9 * of_two ? of_three : of_two;
  p.busy_warps = (per_block + rounds - 1) / rounds;
  p.slots_per_warp = slots / p.busy_warps;
  plan.fits = p.slots_per_warp >= 2 && of_two <= 2 * rounds_of(kMaxWarps - 1);
  plan.threads = (std::max(kNormThreads / 32, p.busy_warps) + 1) * 32;
  p.early_slots = std::max(1, kEarlyBytes / slot_bytes / p.busy_warps);
  plan.shared_bytes = static_cast<size_t>(kFixedShared + p.busy_warps * p.slots_per_warp * slot_bytes + operand);
  return plan;
}

using Kernel = void (*)(Params);
constexpr Kernel kKernels[] = {stream_kernel<Bf16, false>, stream_kernel<Bf16, true>, stream_kernel<Int4, true>};

}  // namespace

bool stream_fits(const StreamCall& call, int32_t num_sms) {
  if (call.format == StreamFormat::fp8) return stream_fp8_fits(call, num_sms);
  return call.num_rows <= kMaxStreamCallRows && (!call.norm || call.cols <= kMaxNormCols) &&
         plan_stream(call, num_sms).fits;
}

cudaError_t prepare_stream() {
  for (const Kernel kernel : kKernels)
    if (const cudaError_t error = allow_shared(kernel, kWholeShared); error != cudaSuccess) return error;
  return prepare_stream_fp8();
}

cudaError_t stream(const StreamCall& call, int32_t num_sms, cudaStream_t cuda_stream) {
  if (call.format == StreamFormat::fp8) return stream_fp8(call, num_sms, cuda_stream);
  const Plan plan = plan_stream(call, num_sms);
  const int kernel = call.format == StreamFormat::int4 ? 2 : call.output == StreamOutput::silu_mul ? 1 : 0;
  return launch(kKernels[kernel], dim3(static_cast<unsigned>(plan.blocks)), dim3(static_cast<unsigned>(plan.threads)),
                plan.shared_bytes, cuda_stream, plan.params);
}

}  // namespace qwill::cuda
