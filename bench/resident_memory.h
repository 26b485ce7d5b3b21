// What a program that runs for long holds.
#pragma once

#include <malloc.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>

namespace qwill::bench {

inline int64_t resident_bytes() {
  malloc_trim(0);  // what the allocator keeps for later is not counted
  int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace qwill::bench
