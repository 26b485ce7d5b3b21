// The engine's thread, and the way in and out of it. The thread owns the core; others only leave requests and wishes in
// `inbox`, and read what it publishes between two steps.
#include "qwill/engine.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <future>
#include <iterator>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/thread_name.h"
#include "engine/engine_core.h"

namespace qwill {
namespace {

// Whose engine this thread is. Not told by thread ids: a new thread may get that of one that was joined.
thread_local const void* thread_owner = nullptr;

}  // namespace

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
  int64_t max_open = 0;
  StepTimes step_times;                     // of the thread
  std::unordered_map<int64_t, Sink> sinks;  // of the thread

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by the mutex:
  Inbox inbox;
  int64_t num_open = 0;  // submitted, and the end not yet told
  bool stopping = false;
  EngineStats stats;
  std::string failure;

  std::thread thread;
  std::once_flag joined;

  void run();
  std::optional<Inbox> next_inbox();
  void take_in(Inbox& taken, std::vector<TokenEvent>& events);
  std::vector<TokenEvent> timed_step();
  void publish(const std::vector<TokenEvent>& events);
  void deliver(std::vector<TokenEvent> events);

  // put(inbox) leaves something for the thread. Throws Error(busy) once the engine is stopping.
  void leave(auto&& put);
};

// Waits for something to do. Nothing: the engine has been stopped, and all has come to its end.
std::optional<Engine::Shared::Inbox> Engine::Shared::next_inbox() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return stopping || !inbox.empty() || !core->idle(); });
  Inbox taken = std::exchange(inbox, {});
  if (!stopping) return taken;
  for (const auto& [id, sink] : sinks) taken.cancelled.push_back(id);
  for (const Submission& submission : taken.submissions) taken.cancelled.push_back(submission.id);
  if (taken.empty() && core->idle()) return std::nullopt;
  return taken;
}

void Engine::Shared::take_in(Inbox& taken, std::vector<TokenEvent>& events) {
  for (Submission& submission : taken.submissions) {
    sinks.emplace(submission.id, std::move(submission.sink));
    try {
      core->add_checked(submission.id, std::move(submission.request));
    } catch (const Error&) {  // the device failed since it was submitted
      events.push_back({.sequence = submission.id, .draw = {}, .finish = FinishReason::failed});
    }
  }
  for (const int64_t id : taken.cancelled) core->cancel(id);
  for (auto& call : taken.calls) call();
}

// Before the events are delivered: whoever learns of an end finds it in the stats, and room for another request.
void Engine::Shared::publish(const std::vector<TokenEvent>& events) {
  const std::lock_guard lock(mutex);
  stats = core->stats();
  stats.step_times = step_times;
  failure = core->failure();
  num_open -= std::ranges::count_if(events, [](const TokenEvent& event) { return event.finish.has_value(); });
}

void Engine::Shared::deliver(std::vector<TokenEvent> events) {
  for (TokenEvent& event : events) {
    const auto sink = sinks.find(event.sequence);
    CHECK(sink != sinks.end(), "every sequence was submitted");
    const bool ends = event.finish.has_value();
    sink->second(std::move(event));
    if (ends) sinks.erase(sink);
  }
}

std::vector<TokenEvent> Engine::Shared::timed_step() {
  const auto start = std::chrono::steady_clock::now();
  std::vector<TokenEvent> events = core->step();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto bucket = std::ranges::lower_bound(StepTimes::kBounds, seconds) - StepTimes::kBounds.begin();
  ++step_times.counts[static_cast<size_t>(bucket)];
  step_times.total_s += seconds;
  return events;
}

void Engine::Shared::run() {
  name_thread("qwill-engine");
  thread_owner = this;
  while (std::optional<Inbox> taken = next_inbox()) {
    std::vector<TokenEvent> events;
    take_in(*taken, events);
    if (!core->idle()) std::ranges::move(timed_step(), std::back_inserter(events));
    publish(events);
    deliver(std::move(events));
  }
}

void Engine::Shared::leave(auto&& put) {
  {
    const std::lock_guard lock(mutex);
    if (stopping) fail(ErrorKind::busy, "the engine is ending, and takes no more");
    put(inbox);
  }
  changed.notify_one();
}

Engine::Engine(std::unique_ptr<EngineCore> core, int64_t max_queued) : shared_(std::make_unique<Shared>()) {
  shared_->max_open = core->config().max_sequences + max_queued;
  shared_->stats = core->stats();
  shared_->core = std::move(core);
  shared_->thread = std::thread([shared = shared_.get()] { shared->run(); });
}

Engine::~Engine() { stop(); }

void Engine::stop() {
  CHECK(thread_owner != shared_.get(), "a sink does not stop its engine");
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->changed.notify_one();
  std::call_once(shared_->joined, [&] { shared_->thread.join(); });
}

int64_t Engine::submit(Request request, Sink sink) {
  shared_->core->check(request);
  const int64_t id = shared_->core->next_id();
  shared_->leave([&](Shared::Inbox& inbox) {
    if (!shared_->failure.empty()) fail(ErrorKind::device, "{}: the model must be loaded again", shared_->failure);
    if (shared_->num_open >= shared_->max_open)
      fail(ErrorKind::busy, "{} requests run or wait already, and no more may: try again later", shared_->num_open);
    ++shared_->num_open;
    inbox.submissions.push_back({id, std::move(request), std::move(sink)});
  });
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
  CHECK(thread_owner != shared_.get(), "a sink does not wait for its engine");
  std::packaged_task<void()> task([&] { f(*shared_->core); });
  std::future<void> done = task.get_future();
  shared_->leave([&](Shared::Inbox& inbox) { inbox.calls.push_back(std::move(task)); });
  done.get();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(shared_->mutex);
  EngineStats stats = shared_->stats;
  stats.waiting += static_cast<int64_t>(shared_->inbox.submissions.size());
  return stats;
}

int64_t Engine::progress() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->stats.steps + shared_->core->progress();
}

bool Engine::busy() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->num_open > 0;
}

std::string Engine::failure() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->failure;
}

int64_t Engine::max_sequences() const { return shared_->core->config().max_sequences; }

int64_t Engine::max_open() const { return shared_->max_open; }

int64_t Engine::max_seq_len() const { return shared_->core->config().max_seq_len; }

}  // namespace qwill
