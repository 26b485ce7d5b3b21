// The generation loop: sequences of token ids advance together, one step at a time, in one thread. Token ids in, token
// ids out.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/model_runner.h"
#include "engine/scheduler.h"
#include "model/model.h"
#include "qwill/options.h"
#include "qwill/request.h"

namespace qwill {

struct EngineConfig {
  int64_t max_seq_len = 0;  // tokens of one sequence, prompt and output
  int64_t num_pages = 0;    // of the cache; 0: enough for one sequence of max_seq_len
  int64_t page_size = 64;
  int64_t chunk_size = 512;      // prompt tokens of one step
  int64_t mixed_chunk_size = 0;  // of a step that decodes as well; 0: the same
  int64_t row_tile = 0;          // what such a step is brought to a multiple of; 0: as suits the device
  // Rows of a step that tell log-probabilities of prompts.
  int64_t max_given_rows = ModelRunner::kGivenRows;
  int64_t max_sequences = 1;  // that run at once; more wait
  bool reserve = false;       // a sequence begins only when its longest length has room
  bool prefix_cache = true;
  std::optional<bool> overlap = {};    // begin a step before the last one's draws are read; none: as suits the device
  std::optional<DType> kv_dtype = {};  // of the cache; none: what suits the weights
  int64_t num_drawable = 0;            // ids from here on are padding; 0: none are
  RopeWhen rope_when = RopeWhen::always;
};

class EngineCore {
 public:
  // Allocates the cache. ops and model must outlive the engine.
  EngineCore(Ops& ops, const Model& model, const EngineConfig& config);
  // Runs steps by something else than a model on a device: everything but score works.
  EngineCore(std::unique_ptr<Runner> runner, const ModelConfig& model, const EngineConfig& config);

  // What add would throw for this request. May be called from any thread.
  void check(const Request& request) const;
  int64_t next_id() { return next_id_++; }  // from any thread
  // Queues a request and returns its sequence id. Throws Error(invalid) if the prompt is empty, holds an id that the
  // model does not have, or leaves no room for a token; an output longer than the room ends with FinishReason::length.
  // Throws Error(device) after a failure.
  int64_t add(Request request);
  // The same of a request that check has accepted, as sequence `id` of next_id.
  void add_checked(int64_t id, Request request);
  void cancel(int64_t sequence) { scheduler_.cancel(sequence); }
  bool idle() const { return scheduler_.idle() && !under_way_; }
  // What the device said when it failed; empty while it works.
  const std::string& failure() const { return failure_; }

  // Runs one step of the model (scheduler.h tells which rows), and returns what came of it; where steps overlap, of the
  // step before. If the device fails, or anything else throws, all sequences end with FinishReason::failed.
  // Deadlines are compared with `now`.
  std::vector<TokenEvent> step(Request::Clock::time_point now = Request::Clock::now());

  // Logits of every position of a prompt, in order, in chunks: visit(first position, [rows, V]), and what observe asks
  // for, both on the host. Independent of the running sequences. Throws Error(invalid) as add does, though a prompt may
  // fill the whole length.
  using LogitsVisitor = std::function<void(int64_t first, const Tensor& logits)>;
  void score(std::span<const int32_t> tokens, const LogitsVisitor& visit, const Model::Observer& observe = nullptr);

  const EngineConfig& config() const { return config_; }
  EngineStats stats() const { return scheduler_.stats(); }
  int64_t progress() const { return runner_->progress(); }  // from any thread
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  void require_working() const;
  void check_tokens(std::span<const int32_t> tokens) const;
  std::shared_ptr<Sequence> make_sequence(int64_t id, Request request, int64_t max_len) const;
  Batch build(const Step& step) const;
  void launch(const Step& step);
  void commit(Step step, std::vector<TokenEvent>& events);

  EngineConfig config_;
  ModelConfig model_;
  std::unique_ptr<Runner> runner_;
  ModelRunner* model_runner_ = nullptr;  // the same, if it runs a model
  Scheduler scheduler_;
  std::optional<Step> under_way_;
  std::atomic<int64_t> next_id_ = 0;
  std::string failure_;
};

}  // namespace qwill
