// A decoder-only language model on some backend: token ids and positions in, logits out.
#pragma once

#include <functional>
#include <memory>

#include "model/tensor_source.h"
#include "ops/ops.h"
#include "qwill/options.h"
#include "weights/model_config.h"

namespace qwill {

class Model {
 public:
  // Called with the residual stream [T, C] entering layer i (0: the embeddings), and once more behind the last layer.
  using Observer = std::function<void(int64_t layer, const Tensor& x)>;

  virtual ~Model() = default;
  // Stores the batch's keys and values and returns the logits of batch.logit_rows, [R, V] f32 (no data for R = 0).
  virtual Tensor forward(Ops& ops, const Batch& batch, PagedKv& kv, const Observer& observe = nullptr) const = 0;
  virtual const ModelConfig& config() const = 0;
  // Bytes of weights that a step of so many rows reads; of experts, the expected number of different ones.
  virtual double weight_bytes(int64_t rows) const = 0;
};

// Places the weights of a configuration on the backend. Throws Error as the source does.
std::unique_ptr<Model> load_model(Ops& ops, const ModelConfig& config, const RopeSettings& rope,
                                  const TensorSource& tensors, DTypeChoice dtype);

// The configuration with a rope of the caller's choice, if any, instead of its own.
ModelConfig with_rope(ModelConfig config, const std::optional<RopeOverride>& rope);

// The rotary settings of a configuration: plain always, yarn where it is configured.
RopeSettings rope_settings(const ModelConfig& config);

}  // namespace qwill
