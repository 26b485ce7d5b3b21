// A fixed set of threads that run numbered tasks. Which thread runs a task never affects its result.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace qwill {

class ThreadPool {
 public:
  // num_threads counts the caller of run; >= 1.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }
  // The calling thread's number within its pool; 0 of those that call run.
  static int current_thread();

  // Calls f(task) once for each task in [0, num_tasks), on all threads; returns when all are done. f must not throw.
  // One run at a time; f must not call run. Each thread begins with its own contiguous share, in order (neighbouring
  // tasks read neighbouring memory), and then takes what is left of the others'. Nobody waits for a thread that has not
  // begun: on a crowded machine the rest do its share.
  template <typename F>
  void run(int64_t num_tasks, F&& f) {
    run_erased(
        num_tasks, [](void* context, int64_t task) { (*static_cast<std::remove_reference_t<F>*>(context))(task); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  using Call = void (*)(void* context, int64_t task);
  void run_erased(int64_t num_tasks, Call call, void* context);
  void work(size_t thread);
  void claim_tasks(size_t thread);

  struct alignas(64) Share {
    std::atomic<uint64_t> tasks{0};  // that nobody has claimed: first in the low half, end in the high half
  };

  std::vector<std::thread> workers_;
  // Of the run that has unfinished tasks.
  Call call_ = nullptr;
  void* context_ = nullptr;
  std::vector<Share> shares_;                       // one per thread
  alignas(64) std::atomic<uint32_t> epoch_{0};      // counts runs: wakes workers up
  alignas(64) std::atomic<int64_t> unfinished_{0};  // tasks
  std::atomic<bool> stop_{false};
};

}  // namespace qwill
