// What the host sends for every step: a block of words on the card, and what it was when it was last sent. While steps
// only count on (positions, lengths), nothing is sent: kernels are told how far.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cuda/device.h"

namespace qwill::cuda {

// Words of a block that count steps: `count` of them from `first` on, `stride` apart.
struct Counters {
  int64_t first = 0, stride = 1, count = 0;
};

class SentWords {
 public:
  explicit SentWords(const MemoryPurpose& purpose)
      : slots_{Slot(purpose), Slot(purpose), Slot(purpose)}, device_(purpose) {}
  ~SentWords();
  SentWords(const SentWords&) = delete;
  SentWords& operator=(const SentWords&) = delete;

  // Room for blocks of so many bytes, and on the card for more behind them. Returns where they lie there.
  char* make_room(int64_t bytes, int64_t bytes_behind = 0);
  // Where the next block is to be written. There must be room for it.
  char* next(int64_t bytes);
  // Lets the card have that block, but for its counters: to these the result is to be added, modulo 2^32.
  uint32_t send(std::span<const Counters> counters, const Device& device);

 private:
  // One is filled while another may be on its way. That it has been copied is recorded when the next one is sent: an
  // event between the copy and the kernel behind it would keep these from overlapping.
  static constexpr size_t kSlots = 3;
  struct Slot {
    explicit Slot(const MemoryPurpose& purpose) : pinned(purpose) {}
    PinnedBuffer pinned;
    cudaEvent_t copied = nullptr;
  };
  std::array<Slot, kSlots> slots_;
  size_t next_slot_ = 0;
  DeviceBuffer device_;
  std::vector<uint32_t> next_, sent_;
};

}  // namespace qwill::cuda
