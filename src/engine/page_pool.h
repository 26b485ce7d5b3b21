// The pages of the key/value cache that are free.
#pragma once

#include <cstdint>
#include <vector>

namespace qwill {

class PagePool {
 public:
  explicit PagePool(int64_t num_pages);

  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  // Appends pages until there are `count`; false, and nothing taken, if too few are free.
  bool extend(std::vector<int32_t>& pages, int64_t count);
  // Returns the pages and clears the list.
  void release(std::vector<int32_t>& pages);

 private:
  std::vector<int32_t> free_;  // lowest id last, so that pages are used in order
};

}  // namespace qwill
