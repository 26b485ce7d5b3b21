// The generation loop: sequences of token ids advance together, one step at a time. Token ids in, token ids out.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/page_pool.h"
#include "engine/request.h"
#include "engine/sequence.h"
#include "model/model.h"
#include "ops/ops.h"

namespace qwill {

// When a model that has YaRN uses it: for every sequence, as the reference does, or only for those that may grow beyond
// the trained length.
enum class RopeWhen : uint8_t { always, needed };

struct EngineConfig {
  int64_t max_seq_len = 0;  // tokens of one sequence, prompt and output
  int64_t num_pages = 0;    // of the cache; 0: enough for one sequence of max_seq_len
  int64_t page_size = 64;
  int64_t chunk_size = 512;            // prompt tokens of one step
  int64_t max_sequences = 1;           // expected to run at once: memory for their steps is taken in advance
  std::optional<DType> kv_dtype = {};  // of the cache; none: what suits the weights
  int64_t num_drawable = 0;            // ids from here on are padding; 0: none are
  RopeWhen rope_when = RopeWhen::always;
};

class Engine {
 public:
  // Allocates the cache. ops and model must outlive the engine.
  Engine(Ops& ops, const Model& model, const EngineConfig& config);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a request and returns its sequence id. Throws Error(invalid) if the prompt is empty, holds an id that the
  // model does not have, or leaves no room for a token; an output longer than the room ends with FinishReason::length.
  int64_t add(Request request);
  void cancel(int64_t sequence);
  bool idle() const { return running_.empty(); }
  // What the device said when it failed; empty while it works. After a failure add throws Error(device).
  const std::string& failure() const { return failure_; }

  // Runs one step of the model: a row of each sequence that decodes, and prompts up to chunk_size rows. A sequence that
  // finds no free pages takes those of the last arrived, which compute theirs again later (with the same bits): the
  // first always advances, so all end. If the device fails, all end with FinishReason::failed.
  std::vector<TokenEvent> step();

  // Logits of every position of a prompt, in order, in chunks: visit(first position, [rows, V]), and what observe asks
  // for, both on the host. Independent of the running sequences. Throws Error(invalid) as add does, though a prompt may
  // fill the whole length.
  using LogitsVisitor = std::function<void(int64_t first, const Tensor& logits)>;
  void score(std::span<const int32_t> tokens, const LogitsVisitor& visit, const Model::Observer& observe = nullptr);

  const EngineConfig& config() const { return config_; }
  int64_t num_free_pages() const { return pool_.num_free(); }

 private:
  struct Scheduled {
    Sequence* sequence;
    int64_t count;  // rows in this step
    bool draws;     // the step reaches the end of what is known
  };

  void reserve();
  std::vector<TokenEvent> fail_all(const std::string& what);
  Sequence make_sequence(Request request, int64_t max_len);
  bool extend_pages(Sequence& sequence, int64_t count);
  std::vector<Scheduled> schedule();
  Batch build(const std::vector<Scheduled>& scheduled) const;
  std::vector<Draw> run(const Batch& batch, const std::vector<Scheduled>& scheduled);
  std::vector<TokenEvent> commit(const std::vector<Scheduled>& scheduled, const std::vector<Draw>& draws);

  Ops& ops_;
  const Model& model_;
  EngineConfig config_;
  PagedKv kv_;
  PagePool pool_;
  int64_t next_id_ = 0;
  std::deque<Sequence> running_;  // in the order of arrival
  std::vector<int64_t> cancelled_;
  std::string failure_;
};

}  // namespace qwill
