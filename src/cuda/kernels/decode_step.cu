// decode_step: the ops of a step of one row, in order (decode_step.h): y = product of norm(x) or a with a weight of
// bf16, four bits or e4m3, added, or gated (stream.cu's and stream_fp8.cu's formulas and bits), and attention of the
// row over its pages (attend_decode's). Residual f32, operands bf16 or e4m3, sums f32.
//
// One block a multiprocessor. A loading warp brings the block's share of all weights of the step through one ring, in
// the order of their multiplication, and never waits for other blocks; so the memory works on while blocks wait for
// each other, load operands, norm and attend, as long as the ring has room (23 items of 8 KB: 8 us of the memory's
// time). Whatever is under way is in front of what blocks hand each other: up to 9 items while the op runs, but 1 to 3
// for ops to come. Between ops lies a barrier of the grid, with a fence; but queries, keys and values reach attention
// as words, and so do its parts whoever merges them, and in short steps or with four bits most of what products read:
// there the barrier has no fence, and only says when it is time to look for words. Moves the weights' and the cache's
// bytes, and operands from L2 for every block; bound by memory, or, in small models, by the products of one warp (or by
// wgmma, where a block has one unit) and by 2 us between ops; with four bits by the products of few warps, half of
// whose time is widening, and by what is between ops.
//
// Every wait ends. Items have one order; a consumer multiplies its own in that order, within ops that all warps take in
// the same order. The loading warp waits for the landing of copies it has issued, and before it issues item j for item
// j - slots to be given back. Let j be the first that it never issues. The consumer of j - slots gives it back at the
// end of its unit, or when its next item has landed, at most 11 behind; that is before j, since there are 16 slots at
// least, and so it was issued and lands. A consumer waits for nothing else once its op runs, but for the slices of the
// same round, or for the other warps of its warpgroup, which multiply the same items; all the items it waits for land.
// What it fetches to the L2 cache while it waits for room, nobody waits for.
// A norm's weights, which it waits for before, are copied whatever others do.
// So an op that runs ends. It runs when all blocks have arrived behind the op before, or when they have written the
// words it reads, which they do on the way there; a merge waits for parts, whose tasks wait for no merge, or for merges
// of groups, which wait for parts alone and which all warps take before others. All words that are read are written:
// by products all their outputs, whichever blocks have units, and the padding of a gated row; by tasks the parts of all
// tiles that have keys, which are those that are merged; by merges every head's result, without keys zeros, and the
// padding (plan_step: as many columns as the next op reads). By induction over ops all of that comes, since all blocks
// are resident (as many as multiprocessors, none waits for one that is not: earlier kernels end by themselves, later
// ones are let start only when all blocks here run).
// Parities do not alias: the loading warp waits for phases of which it has seen the one before, and in_flight is small
// enough for the others to know it (step_items.h: without that a warp takes an older item for its own, and the ring
// comes to a halt). Arrivals at the grid's barrier only grow; each step counts from the base that the one before has
// left, and words carry the count. Block 0 moves the base on in the last op, a product: it has waited there for all
// blocks, which have read it. Words are written again when all blocks are known to be behind the op that reads them:
// parts, queries, keys and values an attention later, with barriers between; operands three ops later at the earliest
// (step_items.h, kStepPlaces). Without a fence a word is its own proof, and nothing else that a block writes is read by
// another in the same step: an added row is added to by the block that wrote it (plan_step), new keys and values are
// put in their tile by whoever reads it.
//
// reference: ops/reference.cpp, bit-equal to stream.cu, stream_fp8.cu and attention_decode.cu
// test, bench: bench/cuda/bench_step.cu
#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/step_attend.cuh"
#include "cuda/kernels/step_product.cuh"

namespace qwill::cuda {
namespace {

__device__ __forceinline__ void prefetch_inputs(const StepLaunch& p) {
  prefetch_line(&p.state->base);
  if (p.num_kv_heads == 0) return;
  const int32_t page = StepTasks{p.num_kv_heads}.tile(0) * (kTile / p.page_size);
  prefetch_line(p.page_table + min(page, p.max_pages - 1));
}

// Of the block's first tiles, so that no layer has to ask for them again.
__device__ __forceinline__ void read_pages(const StepBlock& b) {
  const StepLaunch& p = b.p;
  const int tile_pages = kTile / p.page_size, i = b.thread / 2, page = b.thread % 2;
  if (i >= kKnownTiles || p.num_kv_heads == 0) return;
  const int32_t tile = StepTasks{p.num_kv_heads}.tile(i);
  b.shared.pages[i][page] = p.page_table[min(tile * tile_pages + page, p.max_pages - 1)];
}

// The compiler takes it for another one each time, and so keeps nothing that it has made of it from op to op: there are
// not enough registers for that.
__device__ __forceinline__ int32_t lane_again() {
  int32_t lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}

// By the last multiplying warp; it has arrived when the op has ended.
__device__ __forceinline__ void fetch_op(const StepBlock& b, int32_t op) {
  if (op >= b.p.num_ops || b.warp != b.p.warps - 1 || b.lane >= static_cast<int>(sizeof(StepOp) / 16)) return;
  copy_16_async(shared_address(&b.shared.ops[op % 2]) + b.lane * 16,
                reinterpret_cast<const char*>(b.p.ops + op) + b.lane * 16);
  commit_copies();
}

template <int kDim, StreamFormat kFormat, typename Cache>
__global__ void __launch_bounds__(kStepBlockWarps * 32, 1) decode_step_kernel(const __grid_constant__ StepLaunch p) {
  extern __shared__ __align__(1024) char shared_memory[];
  StepShared& shared = *reinterpret_cast<StepShared*>(shared_memory);
  // The compiler sees that this is the same in all lanes.
  const int32_t warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  StepBlock b{.p = p,
              .shared = shared,
              .room = shared_memory + p.room_at,
              .ring = kept(shared_address(shared_memory + kStepFixedShared)),
              .barriers = kept(shared_address(shared.full)),
              .warp = warp,
              .lane = static_cast<int32_t>(threadIdx.x % 32),
              .thread = static_cast<int32_t>(threadIdx.x)};
  let_next_kernel_start();
  if (warp == kLoadingWarp) {
    if (elect_lane()) {
#pragma unroll 1
      for (int32_t slot = 0; slot < p.slots; ++slot) {
        barrier_init(b.full(slot), 1);
        barrier_init(b.empty(slot), slot_arrivals(kFormat));
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        barrier_init(shared_address(&shared.keys_full[i]), 1);
        barrier_init(shared_address(&shared.values_full[i]), 1);
      }
      barrier_init(shared_address(&shared.norm_full), 1);
      barrier_init_fence();
    }
    __syncwarp();
  }
  b.set_running(0);
  b.set_next_place(-1, {});
  fetch_op(b, 0);
  __syncthreads();
  if (warp / 4 == kLoadingWarp / 4) {
    give_registers<kLoadingRegisters>();
    if (warp != kLoadingWarp) return;
    load_weights_of_step(b);
    wait_for_previous_kernel();
    return;
  }
  take_registers<kStepRegisters>();
  if (warp >= p.warps) return;
  if (threadIdx.x == 0) prefetch_inputs(p);
  wait_for_previous_kernel();
  if (p.seq_lens) {
    if (threadIdx.x == 0) {
      shared.num_keys = p.seq_lens[0];
      shared.slot = p.slots_of_rows[0];
    }
    read_pages(b);
  }
  const uint32_t base = p.state->base;
  wait_for_copies<0>();
  b.sync();
#pragma unroll 1
  for (int32_t op = 0; op < p.num_ops; ++op) {
    b.lane = lane_again();
    b.thread = b.warp * 32 + b.lane;
    fetch_op(b, op + 1);
    b.arrivals = base + static_cast<uint32_t>(op) * gridDim.x;
    const StepOp& now = shared.ops[op % 2];
    if (now.is_attend) {
      b.set_next_place(op, b.place(op));
      StepAttend<kDim, Cache, (max_row_words(kFormat) > 0)>{b, now.attend, op, now.stores, now.to, now.turn}.run();
    } else {
      run_product<kFormat>(b, now, op);
    }
    if (op + 1 == p.num_ops && blockIdx.x == 0 && threadIdx.x == 0)
      p.state->base = base + static_cast<uint32_t>(op) * gridDim.x;
    const bool fence = now.stores != StepStores::words;  // asked before others fetch another op to this place
    wait_for_copies<0>();
    fence_async_proxy();  // the room may be copied to
    b.sync();             // the op's results are written
    if (threadIdx.x == 0 && op + 1 < p.num_ops) arrive_at_grid(p.state, fence);
  }
}

using Kernel = void (*)(StepLaunch);
template <int kDim, typename Cache>
constexpr Kernel kKernels[] = {decode_step_kernel<kDim, StreamFormat::bf16, Cache>,
                               decode_step_kernel<kDim, StreamFormat::int4, Cache>,
                               decode_step_kernel<kDim, StreamFormat::fp8, Cache>};

}  // namespace

cudaError_t prepare_decode_step() {
  for (const auto& kernels : {kKernels<64, Bf16Cache>, kKernels<128, Bf16Cache>, kKernels<128, Fp8Cache>})
    for (int i = 0; i < 3; ++i) {
      if (const cudaError_t error = allow_shared(kernels[i], kMaxStepShared); error != cudaSuccess) return error;
      // What a block is launched with is what its warpgroups deal among them; with less they would wait for ever.
      cudaFuncAttributes is;
      if (const cudaError_t error = cudaFuncGetAttributes(&is, kernels[i]); error != cudaSuccess) return error;
      if (is.numRegs * kStepBlockWarps < kStepRegisters * kMultiplyingWarps + kLoadingRegisters * 4)
        return cudaErrorLaunchOutOfResources;
    }
  return cudaSuccess;
}

cudaError_t decode_step(const StepLaunch& p, cudaStream_t stream) {
  const auto& kernels = p.fp8_cache          ? kKernels<128, Fp8Cache>
                        : p.padded_dim == 64 ? kKernels<64, Bf16Cache>
                                             : kKernels<128, Bf16Cache>;
  return launch(kernels[static_cast<size_t>(p.format)], dim3(static_cast<unsigned>(p.num_blocks)),
                dim3(kStepBlockWarps * 32), static_cast<size_t>(p.shared_bytes), stream, p);
}

}  // namespace qwill::cuda
