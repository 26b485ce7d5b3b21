#include "base/system_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>

namespace qwill {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// The only number of a file; nothing if it is not there, or holds a word ("max").
std::optional<int64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  return file >> number ? std::optional(number) : std::nullopt;
}

// The number behind a key at the beginning of a line.
std::optional<int64_t> read_number(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    if (int64_t number = 0; word == key && file >> number) return number;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

// What a group of either version of control groups allows beyond what it holds.
int64_t left_in_group(const std::string& folder, const char* limit_file, const char* usage_file) {
  const auto limit = read_number(folder + limit_file), usage = read_number(folder + usage_file);
  if (!limit || !usage) return kUnlimited;
  const std::string stat = folder + "memory.stat";
  const int64_t file_pages =
      read_number(stat, "active_file").value_or(0) + read_number(stat, "inactive_file").value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - file_pages));
}

}  // namespace

int64_t available_memory_bytes(const std::string& root) {
  int64_t available = kUnlimited;
  if (const auto kib = read_number(root + "/proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "ID:CONTROLLERS:PATH"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = ',' + line.substr(first + 1, second - first - 1) + ',';
    const bool version_2 = controllers == ",,";
    if (!version_2 && controllers.find(",memory,") == std::string::npos) continue;
    // Groups around it may allow less. In a container the path may not be there, and its own group is the root.
    for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
      while (path.ends_with('/')) path.pop_back();
      const std::string folder = root + "/sys/fs/cgroup" + (version_2 ? "" : "/memory") + path + "/";
      available =
          std::min(available, version_2 ? left_in_group(folder, "memory.max", "memory.current")
                                        : left_in_group(folder, "memory.limit_in_bytes", "memory.usage_in_bytes"));
      if (path.find('/') == std::string::npos) break;
    }
  }
  return available;
}

}  // namespace qwill
