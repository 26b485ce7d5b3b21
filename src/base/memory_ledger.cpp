#include "base/memory_ledger.h"

#include <algorithm>

namespace qwill {

void MemoryLedger::add(std::string_view purpose, int64_t bytes) {
  auto pool = std::ranges::find(pools_, purpose, &MemoryPool::purpose);
  if (pool == pools_.end()) pool = pools_.insert(pool, {std::string(purpose), 0});
  pool->bytes += bytes;
}

std::vector<MemoryPool> MemoryLedger::pools() const {
  std::vector<MemoryPool> held;
  std::ranges::copy_if(pools_, std::back_inserter(held), [](const MemoryPool& pool) { return pool.bytes > 0; });
  return held;
}

}  // namespace qwill
