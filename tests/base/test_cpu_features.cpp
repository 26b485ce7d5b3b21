#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/cpu_features.h"
#include "cpu/dispatch.h"

namespace qwill {
namespace {

TEST(CpuFeatures, CountFollowsTheAffinity) {
  const int all = available_cpus();
  EXPECT_GE(all, 1);
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  EXPECT_LE(all, CPU_COUNT(&allowed));
  std::thread([&] {  // affinity belongs to the thread
    int first = 0;
    while (!CPU_ISSET(first, &allowed)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(available_cpus(), 1);
  })
      .join();
  EXPECT_EQ(available_cpus(), all);
}

// Made-up machines: how many cores some of their processors are.
TEST(CpuFeatures, ThreadsOfACoreCountOnce) {
  const std::filesystem::path root =
      std::filesystem::path(testing::TempDir()) / ("qwill-cores-" + std::to_string(::getpid()));
  const auto machine = [&](const std::vector<std::string>& siblings) {
    std::filesystem::remove_all(root);
    for (size_t cpu = 0; cpu < siblings.size(); ++cpu) {
      const auto folder = root / ("cpu" + std::to_string(cpu)) / "topology";
      std::filesystem::create_directories(folder);
      std::ofstream(folder / "thread_siblings_list") << siblings[cpu] << "\n";
    }
  };
  const auto cores = [&](const std::vector<int>& cpus) { return count_cores(cpus, root); };
  machine({"0-1", "0-1", "2-3", "2-3"});  // neighbours, as virtual processors often are
  EXPECT_EQ(cores({0, 1, 2, 3}), 2);
  EXPECT_EQ(cores({0, 2}), 2);
  EXPECT_EQ(cores({1}), 1);
  machine({"0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"});
  EXPECT_EQ(cores({0, 1, 2, 3, 4, 5, 6, 7}), 4);
  EXPECT_EQ(cores({0, 1, 4, 5}), 2);
  EXPECT_EQ(cores({4, 5, 6}), 3);
  machine({"0-1", "0-1", "2", "3"});  // cores of two kinds
  EXPECT_EQ(cores({0, 1, 2, 3}), 3);
  machine({"0", "1"});
  EXPECT_EQ(cores({0, 1}), 2);
  EXPECT_EQ(cores({0, 1, 7}), 3);  // of which nothing is known
  std::filesystem::remove_all(root);
  EXPECT_EQ(cores({0, 1, 2}), 3);
}

TEST(CpuFeatures, NoMoreCoresThanProcessors) {
  EXPECT_GE(available_cores(), 1);
  EXPECT_LE(available_cores(), available_cpus());
}

TEST(CpuFeatures, EachLevelIncludesTheOneBelow) {
  const CpuFeatures& f = cpu_features();
  EXPECT_TRUE(!f.amx || f.avx512_bf16);
  EXPECT_TRUE(!f.avx512_bf16 || f.avx512);
  EXPECT_TRUE(!f.avx512 || f.avx2);
}

// The name that was asked for is the name that runs.
TEST(CpuDispatch, SelectsByName) {
  ASSERT_FALSE(cpu::available_kernels().empty());
  EXPECT_EQ(&cpu::select_kernels(""), cpu::available_kernels().front());
  EXPECT_EQ(&cpu::select_kernels("auto"), cpu::available_kernels().front());
  for (const cpu::Kernels* kernels : cpu::available_kernels()) EXPECT_EQ(&cpu::select_kernels(kernels->name), kernels);
  try {
    cpu::select_kernels("sse9");
    FAIL() << "there is no such path";
  } catch (const std::exception& e) {
    const std::string message = e.what();
    EXPECT_NE(message.find("sse9"), std::string::npos) << message;
    EXPECT_NE(message.find(cpu::available_kernels().front()->name), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace qwill
