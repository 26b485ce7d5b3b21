#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/thread_pool.h"

namespace qwill {
namespace {

class ThreadPoolOf : public testing::TestWithParam<int> {};  // threads

TEST_P(ThreadPoolOf, RunsEveryTaskOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.num_threads(), GetParam());
  for (const int64_t num_tasks : {0, 1, 2, 3, 4, 5, 7, 8, 64, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(num_tasks));
    pool.run(num_tasks, [&](int64_t task) { runs[static_cast<size_t>(task)].fetch_add(1); });
    for (size_t task = 0; task < runs.size(); ++task) ASSERT_EQ(runs[task].load(), 1) << task << " of " << num_tasks;
  }
}

// What the tasks wrote is there when run returns, without atomics; and the pool holds through many tiny runs.
TEST_P(ThreadPoolOf, ManyTinyRuns) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> values(11);
  for (int64_t i = 0; i < 600; ++i) {
    const int64_t num_tasks = i % 12;
    pool.run(num_tasks, [&](int64_t task) { values[static_cast<size_t>(task)] += task + i; });
  }
  for (int64_t task = 0; task < 11; ++task) {
    int64_t wanted = 0;
    for (int64_t i = 0; i < 600; ++i)
      if (task < i % 12) wanted += task + i;
    EXPECT_EQ(values[static_cast<size_t>(task)], wanted) << task;
  }
}

// One slow task does not keep the others' work: it is taken from the slow thread's share.
TEST_P(ThreadPoolOf, UnevenTasks) {
  ThreadPool pool(GetParam());
  std::atomic<int64_t> sum = 0;
  pool.run(100, [&](int64_t task) {
    if (task == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    sum += task;
  });
  EXPECT_EQ(sum.load(), 4950);
}

// Workers asleep since the last run wake up for the next.
TEST_P(ThreadPoolOf, WakesAfterAPause) {
  ThreadPool pool(GetParam());
  for (int i = 0; i < 3; ++i) {
    std::atomic<int> count = 0;
    pool.run(10, [&](int64_t) { ++count; });
    EXPECT_EQ(count.load(), 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolOf, testing::Values(1, 2, 3, 5, 16));

TEST(ThreadPool, PoolsOfSeveralThreadsRunAtOnce) {
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum = 0;
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&] {
      ThreadPool pool(2);
      for (int i = 0; i < 100; ++i) pool.run(8, [&](int64_t task) { sum += task; });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 3 * 100 * 28);
}

}  // namespace
}  // namespace qwill
