// The engine's thread, and the way in and out of it. The thread owns the core; others only leave requests and wishes in
// `inbox`, and read what it leaves in `stats`.
#include "qwill/engine.h"

#include <condition_variable>
#include <exception>
#include <future>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/engine_core.h"

namespace qwill {

struct Engine::Shared {
  struct Submission {
    int64_t id;
    Request request;
    Sink sink;
  };
  struct Inbox {
    std::vector<Submission> submissions;
    std::vector<int64_t> cancelled;
    std::vector<std::packaged_task<void()>> calls;
    bool empty() const { return submissions.empty() && cancelled.empty() && calls.empty(); }
  };

  std::unique_ptr<EngineCore> core;
  int64_t max_queued;
  std::unordered_map<int64_t, Sink> sinks;  // of the thread

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by the mutex:
  Inbox inbox;
  bool stopping = false;
  EngineStats stats;
  std::string failure;

  std::thread thread;

  void run();
  void take_in(Inbox& taken);
  void deliver(std::vector<TokenEvent> events);
};

void Engine::Shared::deliver(std::vector<TokenEvent> events) {
  for (TokenEvent& event : events) {
    const auto sink = sinks.find(event.sequence);
    if (sink == sinks.end()) continue;
    const bool ends = event.finish.has_value();
    sink->second(std::move(event));
    if (ends) sinks.erase(sink);
  }
}

void Engine::Shared::take_in(Inbox& taken) {
  for (Submission& submission : taken.submissions) {
    const int64_t id = submission.id;
    sinks.emplace(id, std::move(submission.sink));
    try {
      core->add(id, std::move(submission.request));
    } catch (const Error&) {  // the device failed since it was submitted
      deliver({{.sequence = id, .draw = {}, .finish = FinishReason::failed}});
    }
  }
  for (const int64_t id : taken.cancelled) core->cancel(id);
  for (auto& call : taken.calls) call();
}

void Engine::Shared::run() {
  for (;;) {
    Inbox taken;
    {
      std::unique_lock lock(mutex);
      stats = core->stats();
      changed.wait(lock, [&] { return stopping || !inbox.empty() || !core->idle(); });
      taken = std::exchange(inbox, {});
      stats.waiting += static_cast<int64_t>(taken.submissions.size());  // until the core counts them
      if (stopping) {
        for (const auto& [id, sink] : sinks) taken.cancelled.push_back(id);
        if (taken.empty() && core->idle()) return;
      }
    }
    take_in(taken);
    if (core->idle()) continue;
    std::vector<TokenEvent> events = core->step();
    if (!core->failure().empty()) {  // known before anyone is told that a sequence failed
      const std::lock_guard lock(mutex);
      failure = core->failure();
    }
    deliver(std::move(events));
  }
}

Engine::Engine(std::unique_ptr<EngineCore> core, int64_t max_queued) : shared_(std::make_unique<Shared>()) {
  shared_->core = std::move(core);
  shared_->max_queued = max_queued;
  shared_->stats = shared_->core->stats();
  shared_->thread = std::thread([shared = shared_.get()] { shared->run(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->changed.notify_one();
  shared_->thread.join();
}

int64_t Engine::submit(Request request, Sink sink) {
  shared_->core->check(request);
  const int64_t id = shared_->core->next_id();
  {
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->failure.empty())
      fail(ErrorKind::device, "{}: the model must be loaded again", shared_->failure);
    const int64_t queued = shared_->stats.waiting + static_cast<int64_t>(shared_->inbox.submissions.size());
    if (queued >= shared_->max_queued)
      fail(ErrorKind::busy, "{} requests wait already, and no more may: try again later", queued);
    shared_->inbox.submissions.push_back({id, std::move(request), std::move(sink)});
  }
  shared_->changed.notify_one();
  return id;
}

void Engine::cancel(int64_t sequence) {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->inbox.cancelled.push_back(sequence);
  }
  shared_->changed.notify_one();
}

void Engine::call(const std::function<void(EngineCore&)>& f) {
  std::packaged_task<void()> task([&] { f(*shared_->core); });
  std::future<void> done = task.get_future();
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->inbox.calls.push_back(std::move(task));
  }
  shared_->changed.notify_one();
  done.get();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->stats;
}

std::string Engine::failure() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->failure;
}

int64_t Engine::max_seq_len() const { return shared_->core->config().max_seq_len; }

}  // namespace qwill
