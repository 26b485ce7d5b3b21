// A model whose answer depends on every token of a sequence, read back from the pages of the cache, and on nothing
// else: a wrong slot, page or position gives other tokens. It also checks what the engine promises of every batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace qwill::test {

class FakeModel final : public Model {
 public:
  explicit FakeModel(int64_t vocab_size = 97);

  Tensor forward(Ops& ops, const Batch& batch, PagedKv& kv, const Observer& observe = nullptr) const override;
  const ModelConfig& config() const override { return config_; }
  ModelConfig& config() { return config_; }
  double weight_bytes(int64_t) const override { return 0; }

  // Logits behind these tokens.
  std::vector<float> logits(std::span<const int32_t> tokens) const;
  // The greedy continuation.
  std::vector<int32_t> continuation(std::vector<int32_t> prompt, int64_t count) const;

  // Of the last step.
  int64_t num_rows() const { return num_rows_; }
  const std::vector<RopeKind>& ropes() const { return ropes_; }

 private:
  ModelConfig config_;
  mutable Weight ids_;  // [V, 1]: the embedding of a token is its id
  mutable std::vector<float> logits_;
  mutable int64_t num_rows_ = 0;
  mutable std::vector<RopeKind> ropes_;
};

}  // namespace qwill::test
