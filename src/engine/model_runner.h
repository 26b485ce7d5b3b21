// Runs steps of a model on a backend, over one cache.
#pragma once

#include <functional>
#include <optional>

#include "engine/runner.h"
#include "model/model.h"

namespace qwill {

class ModelRunner final : public Runner {
 public:
  // So many rows of a step may tell log-probabilities of prompts: the host computes them, a millisecond each where the
  // vocabulary is large.
  static constexpr int64_t kGivenRows = 64;

  struct Limits {
    int64_t num_pages = 0;
    int64_t page_size = 64;
    std::optional<DType> kv_dtype = {};  // of the cache; none: what suits the weights
    int64_t num_drawable = 0;            // ids from here on are padding
    int64_t max_seq_len = 0;
    int64_t max_rows = 0;                 // prompt rows of a step
    int64_t max_given_rows = kGivenRows;  // those of them that have logits and are not the last of their sequence
    int64_t max_sequences = 1;            // of a step
  };

  // Allocates the cache and room for the largest steps, so that none of it happens later. ops and model must outlive
  // it.
  ModelRunner(Ops& ops, const Model& model, const Limits& limits);
  ~ModelRunner() override;

  // The cache, and room for the largest steps: all that a ModelRunner allocates. Dry ops (Ops::memory) will do.
  static PagedKv make_room(Ops& ops, const Model& model, const Limits& limits);

  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  void launch(const Batch& batch, std::span<const PageCopy> copies, std::span<const SamplingRow> rows) override;
  std::vector<Draw> take_draws() override { return ops_.take_draws(); }
  int64_t progress() const override { return ops_.progress(); }

  // The logits of one batch, and what observe asks for, on the host: valid until the next call.
  Tensor logits_on_host(const Batch& batch, const Model::Observer& observe);

  // Rows of which logits_on_host may be asked at once.
  static constexpr int64_t kScoredRows = 512;

 private:
  void record_steps();

  Ops& ops_;
  const Model& model_;
  Limits limits_;
  PagedKv kv_;
};

}  // namespace qwill
