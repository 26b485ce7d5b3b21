// The pages of the key/value cache that are free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace qwill {

// Pages that so many tokens need.
constexpr int64_t pages_for(int64_t tokens, int64_t page_size) { return (tokens + page_size - 1) / page_size; }

class PagePool {
 public:
  explicit PagePool(int64_t num_pages);

  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  std::optional<int32_t> take();
  void give_back(int32_t page) { free_.push_back(page); }
  std::span<const int32_t> free_pages() const { return free_; }

 private:
  std::vector<int32_t> free_;  // lowest id last, so that pages are used in order
};

}  // namespace qwill
