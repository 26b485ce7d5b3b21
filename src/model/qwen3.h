// Qwen3, dense and mixture-of-experts (Qwen Team 2025, arXiv:2505.09388; transformers modeling_qwen3.py and
// modeling_qwen3_moe.py). One forward pass serves both.
#pragma once

#include <optional>
#include <vector>

#include "model/model.h"

namespace qwill {

class Qwen3 final : public Model {
 public:
  Qwen3(Ops& ops, const ModelConfig& config, const RopeSettings& rope, const TensorSource& tensors, DTypeChoice dtype);

  Tensor forward(Ops& ops, const Batch& batch, PagedKv& kv, const Observer& observe) const override;
  const ModelConfig& config() const override { return config_; }
  double weight_bytes(int64_t rows) const override;

 private:
  struct Layer {
    Norm input_norm, q_norm, k_norm, post_norm;
    Weight qkv_proj, o_proj;
    Weight gate_up_proj, down_proj;  // dense layers
    std::optional<MoeWeights> moe;   // mixture-of-experts layers
  };

  ModelConfig config_;
  RopeSettings rope_;
  Weight embed_;
  std::vector<Layer> layers_;
  Norm norm_;
  Weight lm_head_;
};

}  // namespace qwill
