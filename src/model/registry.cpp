// Which class runs a configuration. ModelConfig accepts the architectures listed here and refuses others by name.
#include "base/error.h"
#include "model/model.h"
#include "model/qwen3.h"

namespace qwill {

std::unique_ptr<Model> load_model(Ops& ops, const ModelConfig& config, const RopeSettings& rope,
                                  const TensorSource& tensors, DTypeChoice dtype) {
  return std::make_unique<Qwen3>(ops, config, rope, tensors, dtype);
}

RopeSettings rope_settings(const ModelConfig& config) {
  RopeSettings settings;
  settings[static_cast<size_t>(RopeKind::plain)] = plain_rope(config.head_dim, config.rope_theta);
  if (config.yarn) {
    const YarnConfig& yarn = *config.yarn;
    settings[static_cast<size_t>(RopeKind::yarn)] =
        yarn_rope(config.head_dim, config.rope_theta,
                  {yarn.factor, yarn.beta_fast, yarn.beta_slow, yarn.attention_factor,
                   yarn.original_max_position_embeddings, yarn.truncate});
  }
  return settings;
}

}  // namespace qwill
