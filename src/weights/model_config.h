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
  std::vector<int64_t> mlp_only_layers;  // ascending, each below num_layers
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
  std::optional<MoeConfig> moe;        // absent: dense
  std::vector<int32_t> eos_token_ids;  // of config.json; generation_config.json overrides
  std::string dtype;                   // as config.json has it, may be empty: each tensor's own dtype decides
  bool in_panels = false;              // `qwill quantize` made it: weights/panel_tensors.h
  std::vector<std::string> warnings;   // one line each: accepted as the reference accepts it, but probably a mistake

  // The sequence length that the weights were trained for: below it YaRN is not needed.
  int64_t trained_len() const { return yarn ? yarn->original_max_position_embeddings : max_position_embeddings; }
  // The longest sequence that the configuration claims to serve.
  int64_t context_len() const;
  bool is_moe_layer(int64_t layer) const;

  // Elements of the weights that a model of this configuration reads; a tied head counts once.
  int64_t num_parameters() const;
  // Those that one token uses: of each mixture-of-experts layer only the chosen experts.
  int64_t num_active_parameters() const;
  // Key and value elements that one token leaves in the cache, over all layers.
  int64_t kv_elements_per_token() const { return 2 * num_layers * num_kv_heads * head_dim; }

  // Reads both spellings of config.json: that of transformers 4 (rope_theta and rope_scaling, torch_dtype,
  // num_experts) and of 5 (rope_parameters, dtype, num_local_experts). Absent keys other than shapes take the default
  // of the reference's configuration class (transformers 5.17, Qwen3Config and Qwen3MoeConfig).
  // Throws Error naming the key: invalid for missing, mistyped, out of range or inconsistent values; unsupported for
  // another architecture, sliding windows, attention bias, other activations, other rope types and weights that another
  // program quantised.
  // Values are bounded so that no product of sizes overflows int64_t: at most 2^50 parameters in all, 2^28
  // cache elements a token and 2^30 positions.
  static ModelConfig from_json(const Json& config);
};

// The shapes of a published size: "0.6b", "1.7b", "4b", "8b", "14b", "32b", "30b-a3b", "235b-a22b" (any case).
// Those of the Base models: 32768 positions, no YaRN. Throws Error(usage) that lists them.
ModelConfig published_config(std::string_view size);
std::vector<std::string_view> published_sizes();
// The same of a model that is called "random:8b" and the like; nothing for other names.
std::optional<ModelConfig> random_config(std::string_view model);

// generation_config.json. A field that is absent in the file is empty here.
struct GenerationConfig {
  bool do_sample = false;  // false: greedy, whatever the rest says
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k, max_new_tokens;
  std::vector<int32_t> eos_token_ids;

  // Throws Error(invalid) naming the key for mistyped or out of range values.
  static GenerationConfig from_json(const Json& config);
};

}  // namespace qwill
