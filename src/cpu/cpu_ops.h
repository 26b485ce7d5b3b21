// The CPU backend.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "ops/ops.h"

namespace qwill {

struct CpuOptions {
  int num_threads = 0;    // 0: as many as there are cores to run on
  std::string path = "";  // of dispatch.h; empty: the best
  bool dry = false;       // only counts memory, see Ops::memory
};

// Throws Error(unsupported) if this machine lacks the path.
std::unique_ptr<Ops> make_cpu_ops(const CpuOptions& options);

// Read bandwidth in bytes per second over memory that should exceed the caches, on the path's threads: the best of
// `repeats` passes.
double read_bandwidth(const CpuOptions& options, std::span<const std::byte> memory, int repeats);

// Threads that run: those asked for, or one for each core.
int num_threads(const CpuOptions& options);

// "cpu (avx512, 8 threads)"
std::string cpu_device_name(const CpuOptions& options);

}  // namespace qwill
