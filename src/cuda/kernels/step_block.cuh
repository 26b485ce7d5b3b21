// A block of decode_step.cu: what lies in its shared memory, and what its warps know.
#pragma once

#include <cstddef>

#include "cuda/kernels/attention_tile.cuh"
#include "cuda/kernels/step_wait.cuh"
#include "cuda/kernels/stream_tile.cuh"

namespace qwill::cuda {

constexpr int kKnownTiles = 8;  // of a block whose pages it keeps in mind

// A block's tasks of an attention: tiles of keys of one kv head, which the blocks of that head take in turns.
struct StepTasks {
  int32_t num_kv_heads;  // not more than blocks

  __device__ __forceinline__ int32_t kv_head() const { return static_cast<int32_t>(blockIdx.x) % num_kv_heads; }
  __device__ __forceinline__ int32_t stride() const {
    return (static_cast<int32_t>(gridDim.x) - 1 - kv_head()) / num_kv_heads + 1;
  }
  __device__ __forceinline__ int32_t tile(int32_t i) const {
    return static_cast<int32_t>(blockIdx.x) / num_kv_heads + i * stride();
  }
};

struct StepShared {
  uint64_t full[kMaxSlots], empty[kMaxSlots];
  uint64_t keys_full[2], values_full[2], norm_full;
  float scratch[8];
  int32_t pages[kKnownTiles][2];
  int32_t num_keys, slot;  // of the step's sequence; where its new key goes, or -1
  int32_t running;
  RingPlace places[2];  // of this op's first item, and of the next one's
  StepOp ops[2];        // this one and the next
};
static_assert(sizeof(StepShared) <= kStepFixedShared && sizeof(StepOp) % 16 == 0 && sizeof(StepOp) <= 512);
static_assert(sizeof(DecodeTile<64>) == step_attend_bytes(64, 2) &&
              sizeof(DecodeTile<128>) == step_attend_bytes(128, 2) &&
              sizeof(DecodeTile<128, Fp8Cache>) == step_attend_bytes(128, 1));

constexpr uint32_t kEmptyBehindFull = offsetof(StepShared, empty) - offsetof(StepShared, full);

// A number, the same in all lanes, that the compiler keeps in a register: addresses in shared memory and constants that
// it makes or reads anew wherever they are used cost 30 cycles each time, and the loading warp has some 600 for an
// item.
template <typename T>
__device__ __forceinline__ T kept(T number) {
  return __shfl_sync(~0u, number, 0);
}

// Shared memory: StepShared, the ring, and the room that a product's operand and an attention's tile take turns in.
struct StepBlock {
  const StepLaunch& p;
  StepShared& shared;
  char* room;
  uint32_t ring, barriers;  // addresses of the first item, of its `full`; kept in registers
  int32_t warp, lane, thread;
  uint32_t arrivals = 0;  // at the grid's barrier that end the op before this

  __device__ __forceinline__ uint32_t full(int32_t slot) const { return barriers + slot * 8; }
  __device__ __forceinline__ uint32_t empty(int32_t slot) const { return full(slot) + kEmptyBehindFull; }
  __device__ __forceinline__ uint32_t item(int32_t slot) const { return ring + slot * p.item_bytes; }
  // Of the op's first item; kept in shared memory, for want of registers.
  __device__ __forceinline__ RingPlace place(int32_t op) const { return shared.places[op % 2]; }
  __device__ __forceinline__ void set_next_place(int32_t op, const RingPlace& next) const {
    if (thread == 0) shared.places[(op + 1) % 2] = next;
  }
  // All warps that multiply.
  __device__ __forceinline__ void sync() const { asm volatile("bar.sync 2, %0;" ::"r"(p.warps * 32) : "memory"); }
  // The block multiplies for this op. What is loaded for a later one is not urgent.
  __device__ __forceinline__ void set_running(int32_t op) const {
    if (thread == 0) *static_cast<volatile int32_t*>(&shared.running) = op;
  }
  __device__ __forceinline__ bool is_running(int32_t op) const {
    int32_t running;
    asm volatile("ld.volatile.shared.s32 %0, [%1];"
                 : "=r"(running)
                 : "r"(barriers + static_cast<uint32_t>(offsetof(StepShared, running) - offsetof(StepShared, full)))
                 : "memory");
    return running >= op;
  }
  // Of the words that the op writes, and of those that the one before has written. Never 0, since
  // the number of blocks is even, and it odd.
  __device__ __forceinline__ uint32_t epoch() const { return arrivals + 1; }
  __device__ __forceinline__ uint32_t epoch_before() const { return arrivals + 1 - gridDim.x; }
  // All of them go on when all blocks have finished the op before.
  __device__ __forceinline__ void wait_for_op_before(int32_t op) const {
    if (op == 0) return;
    if (thread == 0) wait_for_grid(p, arrivals, op);
    sync();
  }
};

// Where outputs of a product go.
struct StepOutputs {
  const StepBlock& b;
  const StepOp& op;

  // An added row too stands in its place: for the next sum, and whoever comes after the step.
  __device__ __forceinline__ void put(int32_t /*row*/, int32_t n, float value) const {
    const bool words = op.stores == StepStores::words;
    if (words) store_word(b.p.words + op.to + n, value, b.epoch());
    if (!words || op.product.output == StreamOutput::add) static_cast<float*>(op.product.y)[n] = value;
  }
  __device__ __forceinline__ void put_gated(int32_t /*row*/, int32_t n, bfloat value) const {
    static_cast<bfloat*>(op.product.y)[n] = value;
  }
  __device__ __forceinline__ void clear_gated(int32_t row, int32_t n) const {
    put_gated(row, n, __float2bfloat16_rn(0.0f));
  }
  // n is even.
  __device__ __forceinline__ void put_two_gated(int32_t n, uint32_t two) const {
    if (op.stores == StepStores::words)
      store_word(b.p.words + op.to + n / 2, __uint_as_float(two), b.epoch());
    else
      *reinterpret_cast<uint32_t*>(static_cast<bfloat*>(op.product.y) + n) = two;
  }
};

}  // namespace qwill::cuda
