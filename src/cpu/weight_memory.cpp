#include "cpu/weight_memory.h"

#include <sys/mman.h>

#include <utility>

#include "base/error.h"

namespace qwill::cpu {

WeightMemory::WeightMemory(int64_t bytes) {
  if (bytes == 0) return;
  constexpr size_t kHuge = 2 << 20;
  const auto size = static_cast<size_t>(bytes);
  mapped_ = size < kHuge ? size : size + kHuge;  // room to begin at a huge page
  mapping_ = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    fail(ErrorKind::io, "out of memory: {} bytes for weights", bytes);
  }
  data_ = static_cast<std::byte*>(mapping_);
  if (size < kHuge) return;
  data_ = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(mapping_) + kHuge - 1) / kHuge * kHuge);
  ::madvise(data_, size, MADV_HUGEPAGE);  // a wish
}

WeightMemory& WeightMemory::operator=(WeightMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

WeightMemory::~WeightMemory() {
  if (mapping_) ::munmap(mapping_, mapped_);
}

}  // namespace qwill::cpu
