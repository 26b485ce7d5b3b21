#include "cuda/sent_words.h"

#include <cstring>

#include "cuda/kernels/rows.h"

namespace qwill::cuda {

SentWords::~SentWords() {
  for (const Slot& slot : slots_)
    if (slot.copied) cudaEventDestroy(slot.copied);
}

char* SentWords::make_room(int64_t bytes, int64_t bytes_behind) {
  for (Slot& slot : slots_) slot.pinned.get<char>(bytes);
  const int64_t capacity = device_.capacity();
  char* words = device_.get<char>(bytes + bytes_behind);
  if (device_.capacity() != capacity) sent_.clear();
  return words;
}

char* SentWords::next(int64_t bytes) {
  next_.resize(static_cast<size_t>(bytes / 4));
  return reinterpret_cast<char*>(next_.data());
}

uint32_t SentWords::send(std::span<const Counters> counters, const Device& device) {
  const auto add = [&](uint32_t steps) {
    for (const Counters& c : counters)
      for (int64_t i = 0; i < c.count; ++i) next_[static_cast<size_t>(c.first + i * c.stride)] += steps;
  };
  uint32_t steps = 0;
  if (!counters.empty() && counters[0].count > 0 && sent_.size() == next_.size())
    steps = next_[static_cast<size_t>(counters[0].first)] - sent_[static_cast<size_t>(counters[0].first)];
  add(-steps);
  if (next_ == sent_) return steps;
  add(steps);

  const auto bytes = static_cast<int64_t>(next_.size()) * 4;
  if (const Slot& before = slots_[(next_slot_ + kSlots - 1) % kSlots]; before.copied)
    check(cudaEventRecord(before.copied, device.stream), "copy a step's inputs");
  Slot& slot = slots_[next_slot_++ % kSlots];
  if (!slot.copied) check(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming), "create an event");
  check(cudaEventSynchronize(slot.copied), "copy a step's inputs");
  char* host = slot.pinned.get<char>(bytes);
  std::memcpy(host, next_.data(), static_cast<size_t>(bytes));
  check(copy_words(device_.get<char>(bytes), host, bytes, device.stream), "copy a step's inputs");
  sent_ = next_;
  return 0;
}

}  // namespace qwill::cuda
