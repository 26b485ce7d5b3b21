#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/memory_nodes.h"

namespace qwill {
namespace {

std::vector<int> allowed() {
  cpu_set_t set;
  EXPECT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

class MemoryNodes : public testing::Test {
 protected:
  void node(int number, const std::string& cpulist) {
    const std::filesystem::path folder = root_ / ("node" + std::to_string(number));
    std::filesystem::create_directory(folder);
    std::ofstream(folder / "cpulist") << cpulist << "\n";
  }
  void SetUp() override { std::filesystem::create_directories(root_); }
  void TearDown() override { std::filesystem::remove_all(root_); }

  const std::filesystem::path root_ =
      std::filesystem::path(testing::TempDir()) / ("qwill-nodes-" + std::to_string(::getpid()));
};

TEST_F(MemoryNodes, AreWhatTheProcessMayUseOfEach) {
  const std::vector<int> cpus = allowed();
  if (cpus.size() < 2) GTEST_SKIP() << "one processor";
  const std::string first = std::to_string(cpus[0]), second = std::to_string(cpus[1]);
  node(0, first + ",1020-1023");  // not allowed here, or there would be more of them
  node(1, "");                    // memory without processors
  node(2, second + "-" + second);
  const std::vector<std::vector<int>> nodes = memory_nodes(root_);
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0].front(), cpus[0]);
  EXPECT_EQ(nodes[1], std::vector<int>{cpus[1]});
}

TEST_F(MemoryNodes, RangesCountBothEnds) {
  const std::vector<int> cpus = allowed();
  if (cpus.size() < 2 || cpus[1] != cpus[0] + 1) GTEST_SKIP() << "no two neighbouring processors";
  const std::string range = std::to_string(cpus[0]) + "-" + std::to_string(cpus[1]);
  node(0, range);
  node(1, range);
  EXPECT_EQ(memory_nodes(root_), (std::vector<std::vector<int>>(2, {cpus[0], cpus[1]})));
}

TEST_F(MemoryNodes, OneOrNoneOrNonsenseIsNothingToChooseFrom) {
  EXPECT_TRUE(memory_nodes(root_).empty());
  EXPECT_TRUE(memory_nodes(root_ / "missing").empty());
  node(0, "0-2000000000");
  EXPECT_TRUE(memory_nodes(root_).empty());
  node(1, "x-y,,-");
  EXPECT_TRUE(memory_nodes(root_).empty());
}

TEST(RunOn, KeepsAThreadOnItsProcessors) {
  const std::vector<int> cpus = allowed();
  std::thread([&] {
    run_on({cpus.back()});
    EXPECT_EQ(allowed(), std::vector<int>{cpus.back()});
    run_on({});  // refused
    EXPECT_EQ(allowed(), std::vector<int>{cpus.back()});
  }).join();
  EXPECT_EQ(allowed(), cpus);
}

}  // namespace
}  // namespace qwill
