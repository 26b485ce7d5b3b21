// An engine over a played device, under random traffic with cancels, deadlines and failures. After every step it checks
// what the engine promises of every step, and throws where a promise is broken.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "engine/engine_core.h"
#include "engine/simulated_runner.h"
#include "support/random.h"

namespace qwill::test {

struct Traffic {
  int64_t num_requests = 1000;
  int64_t max_live = 100;                // no more come while so many are there
  int64_t mean_interval_ns = 3'000'000;  // between two that come; now and then many come at once
  int64_t max_prompt = 100, max_tokens = 30;
  int64_t num_stems = 10;              // beginnings that prompts share
  int64_t requests_per_namespace = 0;  // then the next one begins; 0: there are two namespaces
  int64_t num_priorities = 3;
  int64_t cancelled = 10, deadlines = 10, stops = 30, penalised = 10, scored = 10;  // per cent of the requests
  int64_t steps_between_failures = 0;  // about; 0: the device does not fail
  int64_t check_pages_every = 1;       // steps
  uint64_t seed = 1;
};

class Simulation {
 public:
  static constexpr int64_t kVocabSize = 200;
  // A model that uses YaRN for sequences that may grow beyond 64 tokens.
  static ModelConfig model();

  // `config` has no zeros that stand for something else.
  Simulation(const EngineConfig& config, const Traffic& traffic);

  // Lets requests come and be cancelled, and runs one step; false once all have ended.
  bool step();
  void run() {
    while (step()) continue;
  }

  int64_t num_steps() const { return num_steps_; }
  int64_t num_added() const { return num_added_; }
  int64_t num_ended(FinishReason reason) const { return ended_[static_cast<size_t>(reason)]; }
  int64_t num_failures() const { return num_failures_; }
  int64_t num_scored() const { return num_scored_; }  // tokens of prompts
  // Of the engine at work; there is a new one after each failure.
  EngineStats stats() const { return engine_->stats(); }
  int64_t clock_ns() const { return runner_->clock_ns(); }

 private:
  using Time = Request::Clock::time_point;

  struct Live {
    TokenSource source;
    SamplingParams sampling;
    int32_t priority;
    std::optional<Time> deadline;
    int64_t prompt_len, max_len;
    std::vector<Draw> prompt;  // the scores that are to come
    int64_t num_scored = 0;
    int64_t output = 0;
    bool cancelled = false;
    size_t index = 0;  // in ids_
  };

  bool chance(int64_t per_cent) { return random_.below(100) < per_cent; }
  Time now() const { return Time(std::chrono::nanoseconds(runner_->clock_ns())); }
  void start_engine();
  void arrive();
  Request make_request();
  void add(Request request);
  void cancel_some();
  void take(const TokenEvent& event, Time now);
  void end(int64_t id, FinishReason reason);
  void check_step(Time now);
  void check_first();

  EngineConfig config_;
  Traffic traffic_;
  Random random_;
  std::unique_ptr<EngineCore> engine_;
  SimulatedRunner* runner_ = nullptr;
  std::vector<std::vector<int32_t>> stems_;
  std::optional<Request> last_request_;

  std::unordered_map<int64_t, Live> live_;
  std::vector<int64_t> ids_;  // of those alive, in no order
  std::set<std::pair<int32_t, int64_t>> order_;
  std::set<std::pair<Time, int64_t>> deadlines_;
  std::vector<int64_t> just_cancelled_;
  int64_t first_id_ = -1, first_patience_ = 0;  // steps that the first in order may take until its next token

  int64_t next_arrival_ns_ = 0;
  int64_t num_steps_ = 0, num_added_ = 0, num_failures_ = 0, num_scored_ = 0;
  int64_t num_vain_ = 0;  // steps in a row that computed nothing and told nothing
  std::array<int64_t, 5> ended_ = {};
  int64_t engine_finished_ = 0, engine_output_ = 0;  // of the engine at work
};

}  // namespace qwill::test
