#include "base/thread_pool.h"

#include <limits>

#include "base/error.h"
#include "base/memory_nodes.h"
#include "base/thread_name.h"

namespace qwill {
namespace {

// Between two steps of a decode lie a few microseconds: workers spin that long before they sleep, since waking takes
// longer than most runs. Past that, yielding keeps a crowded machine usable.
constexpr int kSpins = 4000, kYields = 200;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Tasks [first, last) as one word.
constexpr uint64_t tasks(uint32_t first, uint32_t last) { return static_cast<uint64_t>(last) << 32 | first; }
constexpr uint32_t first_of(uint64_t tasks) { return static_cast<uint32_t>(tasks); }
constexpr uint32_t last_of(uint64_t tasks) { return static_cast<uint32_t>(tasks >> 32); }

thread_local int number = 0;

}  // namespace

int ThreadPool::current_thread() { return number; }

ThreadPool::ThreadPool(int num_threads) : shares_(static_cast<size_t>(num_threads)) {
  // Where there are several memory nodes, neighbouring threads share one: whatever a thread's tasks touched first lies
  // near those of the same share in later runs. The caller is not ours to bind.
  const std::vector<std::vector<int>> nodes = memory_nodes();
  for (size_t i = 1; i < shares_.size(); ++i)
    workers_.emplace_back(
        [this, i, processors = nodes.empty() ? std::vector<int>() : nodes[i * nodes.size() / shares_.size()]] {
          name_thread("qwill-compute");
          if (!processors.empty()) run_on(processors);
          work(i);
        });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::claim_tasks(size_t thread) {
  int64_t done = 0;
  // Its own tasks from the first on: neighbouring tasks read neighbouring memory. Others' from the last, where their
  // owner has not looked ahead.
  for (size_t i = 0; i < shares_.size(); ++i) {
    std::atomic<uint64_t>& share = shares_[(thread + i) % shares_.size()].tasks;
    for (uint64_t left = share.load(std::memory_order_relaxed); first_of(left) < last_of(left);) {
      const uint32_t task = i == 0 ? first_of(left) : last_of(left) - 1;
      const uint64_t rest = i == 0 ? tasks(task + 1, last_of(left)) : tasks(first_of(left), task);
      // Whoever gets a task holds its run open: until it is done, call_ and context_ stay as they are.
      if (!share.compare_exchange_weak(left, rest, std::memory_order_acquire, std::memory_order_relaxed)) continue;
      call_(context_, task);
      ++done;
      left = share.load(std::memory_order_relaxed);
    }
  }
  if (done > 0) unfinished_.fetch_sub(done, std::memory_order_release);
}

void ThreadPool::run_erased(int64_t num_tasks, Call call, void* context) {
  if (workers_.empty() || num_tasks <= 1) {
    for (int64_t task = 0; task < num_tasks; ++task) call(context, task);
    return;
  }
  CHECK(num_tasks <= std::numeric_limits<uint32_t>::max(), "tasks have 32 bits");
  call_ = call;
  context_ = context;
  unfinished_.store(num_tasks, std::memory_order_relaxed);
  const auto threads = static_cast<int64_t>(shares_.size());
  for (int64_t i = 0; i < threads; ++i)
    shares_[static_cast<size_t>(i)].tasks.store(
        tasks(static_cast<uint32_t>(num_tasks * i / threads), static_cast<uint32_t>(num_tasks * (i + 1) / threads)),
        std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  claim_tasks(0);
  for (int spin = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins)
      pause();
    else
      std::this_thread::yield();
  }
}

void ThreadPool::work(size_t thread) {
  number = static_cast<int>(thread);
  uint32_t seen = 0;
  for (;;) {
    uint32_t epoch = epoch_.load(std::memory_order_acquire);
    for (int spin = 0; epoch == seen; ++spin) {
      if (spin < kSpins)
        pause();
      else if (spin < kSpins + kYields)
        std::this_thread::yield();
      else
        epoch_.wait(seen, std::memory_order_acquire);
      epoch = epoch_.load(std::memory_order_acquire);
    }
    seen = epoch;
    if (stop_.load()) return;
    claim_tasks(thread);
  }
}

}  // namespace qwill
