// Waits of decode_step.cu. All of them end (see there); where that is to be shown, a wait of half a second writes down
// who waits for what and stops the kernel.
#pragma once

#include "cuda/kernels/decode_step.h"
#include "cuda/kernels/ptx.cuh"

namespace qwill::cuda {

enum class StepWait : int32_t { slot_empty, slot_landed, slot_full, keys, values, grid, words, norm };

__device__ __forceinline__ uint64_t nanoseconds() {
  uint64_t time;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
  return time;
}

struct Patience {
  const StepLaunch& p;
  uint64_t start = 0;

  __device__ __forceinline__ void spent(StepWait what, int32_t op, int32_t place, uint32_t seen = 0) {
    if (!p.reports) return;
    const uint64_t now = nanoseconds();
    if (start == 0) start = now;
    if (now - start < 500'000'000) return;
    // A report for each warp. (Its place is found here alone: it shall take no register elsewhere.)
    uint32_t block, thread;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    p.reports->reports[block * kMaxStepWarps + thread / 32] = {static_cast<int32_t>(what) + 1, op, place,
                                                               static_cast<int32_t>(seen)};
    __threadfence_system();
    // The others shall have time to say what they wait for.
    while (nanoseconds() - now < 50'000'000) {
    }
    __trap();
  }
};

__device__ __forceinline__ void wait_for(uint32_t barrier, uint32_t parity, const StepLaunch& p, StepWait what,
                                         int32_t op, int32_t place) {
  if (barrier_try_wait(barrier, parity)) return;
  Patience patience{p};
  while (!barrier_try_wait(barrier, parity)) patience.spent(what, op, place, parity);
}

// The grid's barrier: arrivals only ever grow (and wrap around). A fence before waits for all that is under way,
// weights included: 1 to 2 us. Only words can do without.
__device__ __forceinline__ void arrive_at_grid(StepState* state, bool fence) {
  if (fence)
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&state->arrivals) : "memory");
  else
    asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(&state->arrivals) : "memory");
}
__device__ __forceinline__ void wait_for_grid(const StepLaunch& p, uint32_t target, int32_t op) {
  Patience patience{p};
  for (;;) {
    uint32_t seen;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(&p.state->arrivals) : "memory");
    if (static_cast<int32_t>(seen - target) >= 0) return;
    patience.spent(StepWait::grid, op, 0, seen - target);
  }
}

// ---- Words

__device__ __forceinline__ void store_word(StepWord* to, float a, uint32_t epoch) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"(uint64_t{epoch} << 32 | __float_as_uint(a))
               : "memory");
}
// Two of them, aligned to 16 bytes.
__device__ __forceinline__ void store_words(StepWord* to, float a, float b, uint32_t epoch) {
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(to),
               "l"(uint64_t{epoch} << 32 | __float_as_uint(a)), "l"(uint64_t{epoch} << 32 | __float_as_uint(b))
               : "memory");
}
// As they are now; `there` stays true if both are of this epoch.
__device__ __forceinline__ float2 load_words(const StepWord* from, uint32_t epoch, bool& there) {
  uint64_t a, b;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(a), "=l"(b) : "l"(from) : "memory");
  there = there && static_cast<uint32_t>(a >> 32) == epoch && static_cast<uint32_t>(b >> 32) == epoch;
  return make_float2(__uint_as_float(static_cast<uint32_t>(a)), __uint_as_float(static_cast<uint32_t>(b)));
}
__device__ __forceinline__ float load_word(const StepWord* from, uint32_t epoch, bool& there) {
  uint64_t a;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(a) : "l"(from) : "memory");
  there = there && static_cast<uint32_t>(a >> 32) == epoch;
  return __uint_as_float(static_cast<uint32_t>(a));
}
// If they are wanted; else zeros, which are there.
__device__ __forceinline__ float2 load_words_if(bool wanted, const StepWord* from, uint32_t epoch, bool& there) {
  uint64_t a = uint64_t{epoch} << 32, b = a;
  asm volatile(
      "{\n"
      ".reg .pred wanted;\n"
      "setp.ne.b32 wanted, %3, 0;\n"
      "@wanted ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];\n"
      "}\n"
      : "+l"(a), "+l"(b)
      : "l"(from), "r"(static_cast<int>(wanted))
      : "memory");
  there = there && static_cast<uint32_t>(a >> 32) == epoch && static_cast<uint32_t>(b >> 32) == epoch;
  return make_float2(__uint_as_float(static_cast<uint32_t>(a)), __uint_as_float(static_cast<uint32_t>(b)));
}
// Reads until all words are there.
template <typename Read>
__device__ __forceinline__ void wait_for_words(const StepLaunch& p, int32_t op, Read read) {
  Patience patience{p};
  while (!read()) patience.spent(StepWait::words, op, 0);
}

}  // namespace qwill::cuda
