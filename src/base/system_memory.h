// Memory of the machine that a program may still take.
#pragma once

#include <cstdint>
#include <string>

namespace qwill {

// What the kernel calls available, or less where a control group allows less. Pages of files count as available: they
// go when others need the room. `root` is what /proc and /sys are found under.
int64_t available_memory_bytes(const std::string& root = "");

}  // namespace qwill
