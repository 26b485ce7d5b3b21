// Many sequences at once, token ids in and out. One thread of the engine's own does all the work; every method may be
// called from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "qwill/error.h"
#include "qwill/request.h"

namespace qwill {

class EngineCore;

// How long steps took.
struct StepTimes {
  static constexpr std::array<double, 12> kBounds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5};
  std::array<int64_t, kBounds.size() + 1> counts = {};  // of steps no longer than a bound (s) and longer than the last
  double total_s = 0;
};

// What the engine has done since it started, and what it holds now.
struct EngineStats {
  int64_t steps = 0;
  int64_t running = 0, waiting = 0;    // sequences
  int64_t prompt_tokens = 0;           // of the sequences that began, and began again
  int64_t prefix_hit_tokens = 0;       // of those, taken from the prefix cache
  int64_t computed_prompt_tokens = 0;  // and computed
  int64_t output_tokens = 0;
  int64_t finished = 0, preempted = 0;    // sequences
  int64_t num_pages = 0, free_pages = 0;  // of the key/value cache
  int64_t cached_pages = 0;               // hold prefixes and are used by no sequence: free when needed
  StepTimes step_times;
};

class Engine {
 public:
  // Sees a sequence's events in order, the last has `finish`. Called on the engine's thread: it must not block, and
  // must not throw. It may submit and cancel, but neither `call` nor stop the engine.
  using Sink = std::function<void(TokenEvent&& event)>;

  // The core is driven by this engine's thread alone from now on. At most max_queued requests are open beyond those
  // that may run at once.
  Engine(std::unique_ptr<EngineCore> core, int64_t max_queued);
  ~Engine();  // stops it
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a request and returns its sequence id. Throws Error: busy if the queue is full, or the engine stopped; usage
  // or invalid for what can never be served; device once the device has failed.
  int64_t submit(Request request, Sink sink);
  // Takes effect within one step, wherever the sequence is. Unknown and ended ids are ignored.
  void cancel(int64_t sequence);
  // Cancels what runs and waits, and returns when every sink has had its end. No more is taken from then on.
  void stop();

  EngineStats stats() const;
  // Grows while there is work and it is being done, layer by layer: if `busy` stays and this stays, a step is stuck.
  int64_t progress() const;
  bool busy() const;  // requests are open
  // Tokens of one sequence, prompt and output.
  int64_t max_seq_len() const;
  // That run at once, and that may be open at once, waiting ones included.
  int64_t max_sequences() const;
  int64_t max_open() const;
  // What the device said when it failed; empty while it works.
  std::string failure() const;

  // Runs f on the engine's thread between two steps, and waits for it. What f throws is thrown here. It adds no
  // sequences. Throws Error(busy) once the engine is stopped.
  void call(const std::function<void(EngineCore&)>& f);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace qwill
