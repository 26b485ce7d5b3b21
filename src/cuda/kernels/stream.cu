// stream: y[t, n] = sum_k a[t, k] w[n, k] for T <= 2 rows: every weight is read once, at the rate of the memory.
//
// Each warp owns tiles of 8 weight rows (for silu_mul: 8 gate rows and their 8 up rows) over all of K, which lie in one
// contiguous run, and streams them through a ring of its own in shared memory with the copy engine: no warp waits for
// another. Weights are the N operand of mma.m16n8k16, the rows of a its M operand (padded with zeros), K in order from
// a zero accumulator: the same bits as any other tensor-core kernel gives (docs/performance.md).
//
// The rings are filled before the kernel waits for the one before it, and two blocks fit an SM: so the memory never
// rests between kernels. But little of that is under way at once: the operand, which every block loads (and norms) for
// itself when the kernel before has ended, would else queue behind it for microseconds.
//
// Moves the weight's bytes, and T K 4 bytes a block from the L2 cache; bound by memory.
//
// reference: ops/reference.cpp norm_linear, linear_add, norm_gated_mlp    test and bench: bench/cuda/bench_stream.cu
#include <algorithm>

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/row_norm.cuh"
#include "cuda/kernels/stream.h"

namespace qwill::cuda {
namespace {

constexpr int kMaxWarps = 16;  // with the one that fills the rings
constexpr int kSlotAtoms = 4;
constexpr int kSlotBytes = kSlotAtoms * kAtomBytes;
constexpr int kMaxSlots = 28;             // of all rings
constexpr int kEarlyBytes = 32 * 1024;    // of a block under way at once while the rings are filled
constexpr int kBlockShared = 113 * 1024;  // two blocks and their reserved kilobyte each fit an SM
constexpr int kFixedShared = 512;         // barriers, scratch, a row of zeros

int64_t operand_bytes(int64_t padded_cols, int32_t num_rows) { return num_rows * (padded_cols * 2 + 16); }

struct Shared {
  uint64_t full[kMaxSlots];
  uint64_t filled;  // every ring, for the first time
  float scratch[8];
  uint4 zeros;
};
static_assert(sizeof(Shared) <= kFixedShared);

struct Params {
  StreamCall call;
  int32_t num_units;       // tiles, or pairs of tiles for silu_mul
  int32_t busy_warps;      // that multiply
  int32_t slots_per_warp;  // of its ring
  int32_t early_slots;     // of them under way at once while the ring is filled
};

// One warp's stream: its tiles, chunk after chunk, and its ring.
template <bool kPair>
struct Stream {
  static constexpr int kAtoms = kPair ? kSlotAtoms / 2 : kSlotAtoms;  // columns of a chunk, in atoms
  const Params& p;
  int32_t col_blocks, num_chunks;
  uint32_t slots, full;                     // addresses of the ring and its barriers
  int32_t unit, end, chunk = 0, place = 0;  // next to be loaded, behind the block's last, and where to

  __device__ __forceinline__ Stream(const Params& params, Shared& shared, char* ring, int warp) : p(params) {
    col_blocks = static_cast<int32_t>(p.call.layout.col_blocks);
    num_chunks = (col_blocks + kAtoms - 1) / kAtoms;
    // A block's tiles lie one behind the other: its multiprocessor then needs few translations of addresses.
    const auto border = [&](int64_t block) { return static_cast<int32_t>(block * p.num_units / gridDim.x); };
    end = border(blockIdx.x + 1);
    slots = shared_address(ring) + warp * p.slots_per_warp * kSlotBytes;
    full = shared_address(&shared.full[warp * p.slots_per_warp]);
    unit = warp < p.busy_warps ? border(blockIdx.x) + warp : end;
  }
  __device__ __forceinline__ bool done() const { return unit >= end; }

  // Starts the next chunk. Of a pair it holds half as many columns: the gate tile's, then the up tile's.
  __device__ __forceinline__ void load() {
    const int32_t first = chunk * kAtoms;
    const uint32_t bytes = static_cast<uint32_t>(min(col_blocks - first, kAtoms)) * kAtomBytes;
    const char* tile = static_cast<const char*>(p.call.weight) +
                       (static_cast<int64_t>(kPair ? 2 * unit : unit) * col_blocks + first) * kAtomBytes;
    const uint32_t slot = slots + place * kSlotBytes, barrier = full + 8 * place;
    barrier_expect_bytes(barrier, kPair ? 2 * bytes : bytes);
    copy_bulk(slot, tile, bytes, barrier);
    if (kPair) copy_bulk(slot + kSlotBytes / 2, tile + static_cast<int64_t>(col_blocks) * kAtomBytes, bytes, barrier);
    advance();
  }
  __device__ __forceinline__ void advance() {
    if (++place == p.slots_per_warp) place = 0;
    if (++chunk < num_chunks) return;
    chunk = 0;
    unit += p.busy_warps;
  }
};

// The operand's rows as bf16 in shared memory, each with 16 bytes of padding.
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
      const float inverse = inverse_rms(x.sum_of_squares(c.cols, thread), c.cols, c.eps, shared.scratch, thread, 1);
#pragma unroll
      for (int j = 0; j < kNormVectors; ++j) {
        const int col = 4 * (thread + kNormThreads * j);
        if (col >= padded) continue;
        const float4 y = scaled(x.values[j], inverse, weight.values[j]);
        *reinterpret_cast<uint2*>(operand + t * row_stride + col) =
            make_uint2(pack_bf16(y.x, y.y), pack_bf16(y.z, y.w));
      }
      sync_threads<kNormThreads>(1);  // scratch is free again
    }
  } else {
    wait_for_previous_kernel();
    for (int32_t t = 0; t < c.num_rows; ++t)
      for (int32_t i = threadIdx.x; i < padded / 8; i += num_threads)
        reinterpret_cast<uint4*>(operand + t * row_stride)[i] =
            reinterpret_cast<const uint4*>(static_cast<const bfloat*>(c.a) + static_cast<int64_t>(t) * padded)[i];
  }
}

// acc += operand columns of one atom times the atom.
__device__ __forceinline__ void multiply_atom(float (&acc)[4], const uint32_t (&a)[2][4], uint32_t atom, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t b[4];
    const int row = lane % 8, chunk = half * 4 + lane / 8;
    load_matrices(b, atom + row * 128 + ((chunk ^ row) * 16));
    mma_16x8x16(acc, {a[half][0], 0, a[half][1], 0}, b[0], b[1]);
    mma_16x8x16(acc, {a[half][2], 0, a[half][3], 0}, b[2], b[3]);
  }
}

// What the lane adds its two outputs to.
template <StreamOutput kOutput>
__device__ __forceinline__ float2 read_tile(const StreamCall& c, int32_t unit, int lane) {
  const int32_t t = lane / 4, n = unit * 8 + 2 * (lane % 4);
  if (kOutput != StreamOutput::add || t >= c.num_rows) return {};
  const float* y = static_cast<const float*>(c.y) + t * c.ldy + n;
  return {n < c.num_outputs ? y[0] : 0, n + 1 < c.num_outputs ? y[1] : 0};
}

template <StreamOutput kOutput>
__device__ __forceinline__ void write_tile(const StreamCall& c, int32_t unit, const float (&acc)[2][4], float2 before,
                                           int lane) {
  const int32_t t = lane / 4, n = unit * 8 + 2 * (lane % 4);
  if (t >= c.num_rows) return;
  if (kOutput == StreamOutput::silu_mul) {
    if (n >= c.ldy) return;
    bfloat* y = static_cast<bfloat*>(c.y) + t * c.ldy + n;
    *reinterpret_cast<uint32_t*>(y) = pack_bf16(silu_times(acc[0][0], acc[1][0]), silu_times(acc[0][1], acc[1][1]));
    if (unit + 1 == c.layout.row_blocks / 2)
      for (int64_t pad = 8; n + pad < c.ldy; pad += 8) *reinterpret_cast<uint32_t*>(y + pad) = 0;
    return;
  }
  float* y = static_cast<float*>(c.y) + t * c.ldy + n;
  const bool add = kOutput == StreamOutput::add;
  if (n < c.num_outputs) y[0] = add ? __fadd_rn(before.x, acc[0][0]) : acc[0][0];
  if (n + 1 < c.num_outputs) y[1] = add ? __fadd_rn(before.y, acc[0][1]) : acc[0][1];
}

template <StreamOutput kOutput>
__global__ void __launch_bounds__(kMaxWarps * 32, 2) stream_kernel(const __grid_constant__ Params p) {
  constexpr bool kPair = kOutput == StreamOutput::silu_mul;
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
    Stream<kPair> stream(p, shared, ring, lane);
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
  load_operand(p.call, operand, shared, filler * 32);
  wait_for_previous_kernel();
  asm volatile("bar.sync 2, %0;" ::"r"(filler * 32) : "memory");

  // ldmatrix reads four 8x8 matrices: columns 0-7, 8-15, 16-23, 24-31 of rows 0-7; rows beyond T are zeros.
  Stream<kPair> stream(p, shared, ring, warp);
  const int row = lane % 8;
  const bool real = row < p.call.num_rows;
  const uint32_t a_row = real ? shared_address(operand) + row * (stream.col_blocks * 128 + 16) + lane / 8 * 16
                              : shared_address(&shared.zeros);
  const uint32_t a_step = real ? 64 : 0;  // bytes of 32 columns

  const int32_t first_unit = stream.unit;
  for (int s = 0; s < p.slots_per_warp && !stream.done(); ++s) stream.advance();  // as the filler did
  int place = 0;
  uint32_t parity = 0;
  bool filled = false;
  for (int32_t unit = first_unit; unit < stream.end; unit += p.busy_warps) {
    const float2 before = read_tile<kOutput>(p.call, unit, lane);
    float acc[2][4] = {};
    for (int32_t chunk = 0; chunk < stream.num_chunks; ++chunk) {
      const uint32_t data = stream.slots + place * kSlotBytes;
      const int32_t first = chunk * Stream<kPair>::kAtoms;
      const int32_t atoms = min(stream.col_blocks - first, Stream<kPair>::kAtoms);
      const uint32_t a_address = a_row + static_cast<uint32_t>(first) * 2 * a_step;
      barrier_wait(stream.full + 8 * place, parity);
      const auto multiply = [&](int i) {
        uint32_t a[2][4];
        load_matrices(a[0], a_address + 2 * i * a_step);
        load_matrices(a[1], a_address + (2 * i + 1) * a_step);
        multiply_atom(acc[0], a, data + i * kAtomBytes, lane);
        if (kPair) multiply_atom(acc[1], a, data + kSlotBytes / 2 + i * kAtomBytes, lane);
      };
      if (atoms == Stream<kPair>::kAtoms) {
#pragma unroll
        for (int i = 0; i < Stream<kPair>::kAtoms; ++i) multiply(i);
      } else {
        for (int i = 0; i < atoms; ++i) multiply(i);
      }
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
    write_tile<kOutput>(p.call, unit, acc, before, lane);
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
  p.num_units = static_cast<int32_t>(call.layout.row_blocks) / (call.output == StreamOutput::silu_mul ? 2 : 1);
  plan.blocks = std::min(num_sms, p.num_units);
  const int64_t operand = operand_bytes(call.layout.padded_cols(), call.num_rows);
  const int64_t room = std::max<int64_t>(0, kBlockShared - kFixedShared - operand) / kSlotBytes;
  const auto slots = static_cast<int32_t>(std::min<int64_t>(room, kMaxSlots));
  // As many warps as divide a block's tiles into equal rounds, the fewest that leave every warp two slots, or three
  // where that takes few more; the norm may need more warps. Where two would take more than twice the rounds of all
  // warps, too little would be under way.
  const int32_t per_block = (p.num_units + plan.blocks - 1) / plan.blocks;
  const auto rounds_of = [&](int32_t warps) { return (per_block + warps - 1) / warps; };
  const auto rounds_with = [&](int32_t slots_each) {
    return rounds_of(std::clamp(slots / slots_each, 1, kMaxWarps - 1));
  };
  const int32_t rounds = 8 * rounds_with(3) <= 9 * rounds_with(2) ? rounds_with(3) : rounds_with(2);
  p.busy_warps = (per_block + rounds - 1) / rounds;
  p.slots_per_warp = slots / p.busy_warps;
  plan.fits = p.slots_per_warp >= 2 && rounds_with(2) <= 2 * rounds_of(kMaxWarps - 1);
  plan.threads = (std::max(kNormThreads / 32, p.busy_warps) + 1) * 32;
  p.early_slots = std::max(1, kEarlyBytes / kSlotBytes / p.busy_warps);
  plan.shared_bytes = static_cast<size_t>(kFixedShared + p.busy_warps * p.slots_per_warp * kSlotBytes + operand);
  return plan;
}

template <StreamOutput kOutput>
cudaError_t launch_stream(const Plan& plan, cudaStream_t cuda_stream) {
  return launch(stream_kernel<kOutput>, dim3(static_cast<unsigned>(plan.blocks)),
                dim3(static_cast<unsigned>(plan.threads)), plan.shared_bytes, cuda_stream, plan.params);
}

}  // namespace

bool stream_fits(const StreamCall& call, int32_t num_sms) {
  return call.num_rows <= kMaxStreamRows && (!call.norm || call.cols <= kMaxNormCols) &&
         plan_stream(call, num_sms).fits;
}

cudaError_t prepare_stream() {
  for (const auto kernel :
       {stream_kernel<StreamOutput::store>, stream_kernel<StreamOutput::add>, stream_kernel<StreamOutput::silu_mul>})
    if (const cudaError_t error = allow_shared(kernel, kBlockShared); error != cudaSuccess) return error;
  return cudaSuccess;
}

cudaError_t stream(const StreamCall& call, int32_t num_sms, cudaStream_t cuda_stream) {
  const Plan plan = plan_stream(call, num_sms);
  switch (call.output) {
    case StreamOutput::store: return launch_stream<StreamOutput::store>(plan, cuda_stream);
    case StreamOutput::add: return launch_stream<StreamOutput::add>(plan, cuda_stream);
    case StreamOutput::silu_mul: return launch_stream<StreamOutput::silu_mul>(plan, cuda_stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace qwill::cuda
