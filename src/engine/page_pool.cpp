#include "engine/page_pool.h"

#include <algorithm>

namespace qwill {

PagePool::PagePool(int64_t num_pages) {
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

bool PagePool::extend(std::vector<int32_t>& pages, int64_t count) {
  const int64_t wanted = count - static_cast<int64_t>(pages.size());
  if (wanted > num_free()) return false;
  for (int64_t i = 0; i < wanted; ++i) {
    pages.push_back(free_.back());
    free_.pop_back();
  }
  return true;
}

void PagePool::release(std::vector<int32_t>& pages) {
  free_.insert(free_.end(), pages.rbegin(), pages.rend());
  pages.clear();
}

}  // namespace qwill
