// Waits and words of decode_step.cu. All of them end (see there); where that is to be shown, a wait of half a second writes down
// who waits for what and stops the kernel.
#pragma once

#include "cuda/kernels/decode_step.h"
#include "cuda/kernels/ptx.cuh"

namespace qwill::cuda {

enum class StepWait : int32_t { slot_empty, slot_landed, slot_full, keys, values, words };

// The phase of this parity has completed, or the machine has waited a while.
__device__ __forceinline__ bool barrier_try_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}
__device__ __forceinline__ uint64_t nanoseconds() {
  uint64_t time;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
  return time;
}

struct Patience {
  const StepLaunch& p;
  uint64_t start = 0;

  __device__ __forceinline__ void spent(StepWait what, int32_t op, int32_t place, uint32_t parity, uint32_t seen = 0,
                                        uint32_t wanted = 0) {
    if (!p.reports) return;
    const uint64_t now = nanoseconds();
    if (start == 0) start = now;
    if (now - start < 500'000'000) return;
    const uint32_t i = atomicAdd(&p.state->num_reports, 1);
    if (i < kMaxStepReports)
      p.reports->reports[i] = {1,
                               static_cast<int32_t>(blockIdx.x),
                               static_cast<int32_t>(threadIdx.x),
                               op,
                               static_cast<int32_t>(what),
                               place,
                               static_cast<int32_t>(parity),
                               static_cast<int32_t>(seen),
                               static_cast<int32_t>(wanted)};
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

// ---- Words

__device__ __forceinline__ void store_word(StepWord* to, StepWord word) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"(uint64_t{word.epoch} << 32 | word.value) : "memory");
}
// Two of them, aligned to 16 bytes.
__device__ __forceinline__ void store_words(StepWord* to, uint32_t a, uint32_t b, uint32_t epoch) {
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(to),
               "l"(uint64_t{epoch} << 32 | a), "l"(uint64_t{epoch} << 32 | b)
               : "memory");
}

// Two words, aligned to 16 bytes, as they are now.
struct WordPair {
  uint32_t a, b;

  // True if both are of this epoch.
  __device__ __forceinline__ bool load(const StepWord* from, uint32_t epoch) {
    uint64_t first, second;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(first), "=l"(second) : "l"(from) : "memory");
    a = static_cast<uint32_t>(first), b = static_cast<uint32_t>(second);
    return static_cast<uint32_t>(first >> 32) == epoch && static_cast<uint32_t>(second >> 32) == epoch;
  }
};

// One float; true if it is of this epoch.
__device__ __forceinline__ bool load_word(float& value, const StepWord* from, uint32_t epoch) {
  uint64_t word;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(word) : "l"(from) : "memory");
  value = __uint_as_float(static_cast<uint32_t>(word));
  return static_cast<uint32_t>(word >> 32) == epoch;
}

// Calls poll, which reads words and returns whether all of them are there, until they are.
template <typename Poll>
__device__ __forceinline__ void wait_for_words(const StepLaunch& p, int32_t op, Poll poll) {
  if (poll()) return;
  Patience patience{p};
  while (!poll()) patience.spent(StepWait::words, op, 0, 0);
}

}  // namespace qwill::cuda
