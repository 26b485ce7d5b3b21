// The checkpoint's configuration (config.json), checked once where it enters and immutable afterwards.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace qwill {

// YaRN (Peng et al. 2023, arXiv:2309.00071) as the reference's config describes it.
struct YarnConfig {
  double factor = 1;
  int64_t original_max_position_embeddings = 0;
  double attention_factor = 1;  // multiplies cos and sin; already resolved from the keys that may define it
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;
};

struct MoeConfig {
  int64_t num_experts = 0;
  int64_t num_experts_per_tok = 0;
  int64_t moe_intermediate_size = 0;
  bool norm_topk_prob = false;
  int64_t decoder_sparse_step = 1;
  std::vector<int64_t> mlp_only_layers;
};

struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  std::optional<YarnConfig> yarn;  // absent: plain rotary embedding
  bool tie_word_embeddings = false;
  std::optional<MoeConfig> moe;  // absent: dense
  std::vector<int32_t> eos_token_ids;  // of config.json; generation_config.json overrides

  // The sequence length that the weights were trained for: below it YaRN is not needed.
  int64_t trained_len() const { return yarn ? yarn->original_max_position_embeddings : max_position_embeddings; }
  bool is_moe_layer(int64_t layer) const;

  // Throws Error naming the key: invalid for missing, mistyped, out of range or inconsistent values; unsupported for
  // another architecture, sliding windows, attention bias, other activations and other rope types.
  static ModelConfig from_json(const Json& config);
};

// The shapes of a published size: "0.6b", "1.7b", "4b", "8b", "14b", "32b", "30b-a3b", "235b-a22b" (any case).
// Throws Error(usage) that lists them.
ModelConfig published_config(std::string_view size);
std::vector<std::string_view> published_sizes();

// generation_config.json. A field that is absent in the file is empty here.
struct GenerationConfig {
  bool do_sample = false;  // false: greedy, whatever the rest says
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k, max_new_tokens;
  std::vector<int32_t> eos_token_ids;

  static GenerationConfig from_json(const Json& config);
};

}  // namespace qwill
