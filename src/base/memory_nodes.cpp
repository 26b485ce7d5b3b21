#include "base/memory_nodes.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace qwill {
namespace {

// "0-3,8,10-11": what is listed there and in `allowed`.
std::vector<int> processors_of(std::istream& list, const cpu_set_t& allowed) {
  std::vector<int> processors;
  for (int first; list >> first;) {
    int last = first;
    if (list.peek() == '-') {
      list.ignore();
      if (!(list >> last)) break;
    }
    for (int cpu = std::max(first, 0); cpu <= std::min(last, CPU_SETSIZE - 1); ++cpu)
      if (CPU_ISSET(cpu, &allowed)) processors.push_back(cpu);
    list.ignore();  // the comma
  }
  return processors;
}

}  // namespace

std::vector<std::vector<int>> memory_nodes(const std::filesystem::path& nodes) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {};
  std::vector<std::vector<int>> found;
  std::error_code error;  // a system without the folder has one node
  for (int node = 0; std::filesystem::exists(nodes / ("node" + std::to_string(node)), error); ++node) {
    std::ifstream list(nodes / ("node" + std::to_string(node)) / "cpulist");
    if (std::vector<int> processors = processors_of(list, allowed); !processors.empty())
      found.push_back(std::move(processors));
  }
  if (found.size() < 2) found.clear();
  return found;
}

void run_on(const std::vector<int>& processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : processors) CPU_SET(static_cast<size_t>(cpu), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

}  // namespace qwill
