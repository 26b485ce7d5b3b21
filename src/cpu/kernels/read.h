// Reads memory as fast as the core can: four streams, wide loads, prefetch. For measuring the bandwidth that decoding
// is compared with.
#pragma once

#include <cstdint>

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

// Returns something of every byte, so that no load can be left out. bytes is a multiple of 4096.
template <typename S>
float read_all(const float* data, int64_t bytes) {
  constexpr int64_t kStreams = 4, kAhead = 2048;
  const int64_t floats = bytes / 4 / kStreams;
  typename S::F seen[kStreams] = {S::zero(), S::zero(), S::zero(), S::zero()};
  for (int64_t i = 0; i < floats; i += 16) {
    for (int64_t s = 0; s < kStreams; ++s) {
      const float* p = data + s * floats + i;
      __builtin_prefetch(reinterpret_cast<const char*>(p) + kAhead);
      for (int64_t j = 0; j < 16; j += S::kLanes) seen[s] = S::max(seen[s], S::load(p + j));
    }
  }
  return S::reduce_max(S::max(S::max(seen[0], seen[1]), S::max(seen[2], seen[3])));
}

}  // namespace
}  // namespace qwill::cpu
