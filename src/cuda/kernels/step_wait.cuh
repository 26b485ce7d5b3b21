// Waits of decode_step.cu. All of them end (see there); where that is to be shown, a wait of half a second writes down
// who waits for what and stops the kernel.
#pragma once

#include "cuda/kernels/decode_step.h"
#include "cuda/kernels/ptx.cuh"

namespace qwill::cuda {

enum class StepWait : int32_t { slot_empty, slot_landed, slot_full, keys, values, grid };

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

// What this thread wrote, or saw written, is seen by whoever sees what it writes next.
__device__ __forceinline__ void fence_gpu() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

// The grid's barrier: arrivals only ever grow (and wrap around).
__device__ __forceinline__ void arrive_at_grid(StepState* state) {
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&state->arrivals) : "memory");
}
__device__ __forceinline__ void wait_for_grid(const StepLaunch& p, uint32_t target, int32_t op) {
  Patience patience{p};
  for (;;) {
    uint32_t seen;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(&p.state->arrivals) : "memory");
    if (static_cast<int32_t>(seen - target) >= 0) return;
    patience.spent(StepWait::grid, op, 0, 0, seen, target);
  }
}

}  // namespace qwill::cuda
