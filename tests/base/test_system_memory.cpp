#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/system_memory.h"

namespace qwill {
namespace {

class SystemMemory : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::string root_ = testing::TempDir() + "qwill_system_memory_" + std::to_string(::getpid());
};

constexpr int64_t kMiB = 1 << 20;

TEST_F(SystemMemory, IsWhatTheKernelCallsAvailable) {
  write("/proc/meminfo", "MemTotal:  4096000 kB\nMemFree:  1 kB\nMemAvailable:    2048 kB\nBuffers: 7 kB\n");
  EXPECT_EQ(available_memory_bytes(root_), 2 * kMiB);
  EXPECT_GT(available_memory_bytes(), 0);
}

TEST_F(SystemMemory, OrLessInAGroup) {
  write("/proc/meminfo", "MemAvailable:    1048576 kB\n");
  write("/proc/self/cgroup", "0::/outer/inner\n");
  write("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
  write("/sys/fs/cgroup/outer/inner/memory.current", "4194304\n");
  EXPECT_EQ(available_memory_bytes(root_), 1024 * kMiB);
  // Of the group around it. Its pages of files give way.
  write("/sys/fs/cgroup/outer/memory.max", std::to_string(100 * kMiB));
  write("/sys/fs/cgroup/outer/memory.current", std::to_string(30 * kMiB));
  write("/sys/fs/cgroup/outer/memory.stat",
        "anon 1\ninactive_file " + std::to_string(8 * kMiB) + "\nactive_file " + std::to_string(2 * kMiB) + "\n");
  EXPECT_EQ(available_memory_bytes(root_), 80 * kMiB);
}

// Where a container's own group is mounted as the root, its path is not there.
TEST_F(SystemMemory, OrInAContainer) {
  write("/proc/meminfo", "MemAvailable:    1048576 kB\n");
  write("/proc/self/cgroup", "12:cpu,cpuacct:/a\n5:memory:/docker/0123\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(10 * kMiB));
  write("/sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(12 * kMiB));
  EXPECT_EQ(available_memory_bytes(root_), 0);
}

}  // namespace
}  // namespace qwill
