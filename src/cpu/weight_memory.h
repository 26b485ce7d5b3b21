// Memory for repacked weights: huge pages where the system gives them, since decoding reads all of it for every token
// and would miss in the TLB every 4 KiB. Weights lie one behind the other, so that small ones share such pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace qwill::cpu {

class WeightMemory {
 public:
  WeightMemory() = default;
  // Zeros. Throws Error(io) if there is no room.
  explicit WeightMemory(int64_t bytes);
  ~WeightMemory();
  WeightMemory(const WeightMemory&) = delete;
  WeightMemory& operator=(const WeightMemory&) = delete;
  WeightMemory(WeightMemory&& other) noexcept { *this = std::move(other); }
  WeightMemory& operator=(WeightMemory&& other) noexcept {
    region_.swap(other.region_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  std::byte* data() const { return data_; }

 private:
  class Region;
  std::shared_ptr<Region> region_;
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace qwill::cpu
