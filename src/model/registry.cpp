// Which class runs a configuration. ModelConfig accepts the architectures listed here and refuses others by name.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/model.h"
#include "model/qwen3.h"
#include "tensor/int4.h"
#include "weights/checkpoint.h"

namespace qwill {

namespace {

// What matrices and pieces of memory are padded to.
constexpr int64_t kRows = 8, kCols = 64, kFp8Cols = 128, kPiece = 256;
int64_t padded(int64_t size, int64_t step) { return (size + step - 1) / step * step; }

// Bytes that the weights of a configuration take on a device (of f32 files with dtype automatic: more). An upper bound:
// each tensor's own padding included.
int64_t placed_bytes(const ModelConfig& config, DTypeChoice dtype) {
  int64_t bytes = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    if (dtype == DTypeChoice::int4 && tensor.is_layer_matrix()) {
      const auto elements =
          static_cast<double>(padded(tensor.shape.front(), kRows) * padded(tensor.shape.back(), 2 * kCols));
      bytes += padded(static_cast<int64_t>(elements * kInt4Bytes), kPiece);
      continue;
    }
    if (dtype == DTypeChoice::fp8 && tensor.is_layer_matrix()) {  // and a scale for each row
      const int64_t rows = padded(tensor.shape.front(), kRows);
      bytes += padded(rows * padded(tensor.shape.back(), kFp8Cols), kPiece) + padded(rows * 4, kPiece);
      continue;
    }
    const bool vector = tensor.shape.size() == 1, router = tensor.name.ends_with("mlp.gate.weight");
    int64_t elements = padded(tensor.shape.back(), kCols);
    if (!vector) elements *= padded(tensor.shape.front(), kRows);
    bytes += padded(elements * (vector || router || dtype == DTypeChoice::f32 ? 4 : 2), kPiece);
  }
  return bytes;
}

}  // namespace

std::unique_ptr<Model> load_model(Ops& ops, const ModelConfig& config, const RopeSettings& rope,
                                  const TensorSource& tensors, DTypeChoice dtype) {
  ops.expect_weights(placed_bytes(config, dtype));
  return std::make_unique<Qwen3>(ops, config, rope, tensors, dtype);
}

ModelConfig with_rope(ModelConfig config, const std::optional<RopeOverride>& rope) {
  if (!rope) return config;
  const int64_t trained = config.trained_len();
  config.yarn.reset();
  config.max_position_embeddings = trained;
  if (rope->yarn) {
    config.yarn = YarnConfig{.factor = rope->factor,
                             .original_max_position_embeddings = trained,
                             .attention_factor = 0.1 * std::log(rope->factor) + 1};
    config.max_position_embeddings = static_cast<int64_t>(static_cast<double>(trained) * rope->factor);
  }
  return config;
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
