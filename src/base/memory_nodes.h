// The memory nodes of a machine with several (NUMA), so that threads stay where their memory is.
#pragma once

#include <filesystem>
#include <vector>

namespace qwill {

// The processors of each node that this process may run on, without nodes that have none; empty if there is one node
// or nothing is known. `nodes` is Linux's folder of them.
std::vector<std::vector<int>> memory_nodes(const std::filesystem::path& nodes = "/sys/devices/system/node");

// The calling thread runs on these processors alone from now on. Where that is refused, it runs as before.
void run_on(const std::vector<int>& processors);

}  // namespace qwill
