// Memory for repacked weights: whole pages, huge ones where the system gives them, since decoding reads all of it for
// every token and would miss in the TLB every 4 KiB.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwill::cpu {

class WeightMemory {
 public:
  WeightMemory() = default;
  // Zeros. Throws Error(io) if there is no room.
  explicit WeightMemory(int64_t bytes);
  WeightMemory(const WeightMemory&) = delete;
  WeightMemory& operator=(const WeightMemory&) = delete;
  WeightMemory(WeightMemory&& other) noexcept { *this = static_cast<WeightMemory&&>(other); }
  WeightMemory& operator=(WeightMemory&& other) noexcept;
  ~WeightMemory();

  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
};

}  // namespace qwill::cpu
