// Shapes of the published Qwen3 models, from their config.json files (huggingface.co/Qwen, April 2025).
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "weights/model_config.h"

namespace qwill {
namespace {

struct Size {
  std::string_view name;
  int64_t hidden_size, num_layers, num_heads, num_kv_heads, intermediate_size;
  bool tied;
  int64_t moe_intermediate_size;  // 0: dense
};

constexpr Size kSizes[] = {
    {"0.6b", 1024, 28, 16, 8, 3072, true, 0},       {"1.7b", 2048, 28, 16, 8, 6144, true, 0},
    {"4b", 2560, 36, 32, 8, 9728, true, 0},         {"8b", 4096, 36, 32, 8, 12288, false, 0},
    {"14b", 5120, 40, 40, 8, 17408, false, 0},      {"32b", 5120, 64, 64, 8, 25600, false, 0},
    {"30b-a3b", 2048, 48, 32, 4, 6144, false, 768}, {"235b-a22b", 4096, 94, 64, 4, 12288, false, 1536},
};

}  // namespace

ModelConfig published_config(std::string_view size) {
  std::string name(size);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const auto* const found =
      std::find_if(std::begin(kSizes), std::end(kSizes), [&](const Size& s) { return s.name == name; });
  if (found == std::end(kSizes))
    fail(ErrorKind::usage, "no published size {}; there are {}", printable(size), fmt::join(published_sizes(), ", "));

  ModelConfig config;
  config.hidden_size = found->hidden_size;
  config.num_layers = found->num_layers;
  config.num_heads = found->num_heads;
  config.num_kv_heads = found->num_kv_heads;
  config.head_dim = 128;
  config.intermediate_size = found->intermediate_size;
  config.vocab_size = 151936;
  config.max_position_embeddings = 32768;
  config.rms_norm_eps = 1e-6;
  config.rope_theta = 1e6;
  config.tie_word_embeddings = found->tied;
  if (found->moe_intermediate_size != 0) {
    MoeConfig moe;
    moe.num_experts = 128;
    moe.num_experts_per_tok = 8;
    moe.moe_intermediate_size = found->moe_intermediate_size;
    moe.norm_topk_prob = true;
    config.moe = std::move(moe);
  }
  config.eos_token_ids = {151643};
  config.dtype = "bfloat16";
  return config;
}

std::optional<ModelConfig> random_config(std::string_view model) {
  constexpr std::string_view kRandom = "random:";
  if (!model.starts_with(kRandom)) return std::nullopt;
  return published_config(model.substr(kRandom.size()));
}

std::vector<std::string_view> published_sizes() {
  std::vector<std::string_view> names;
  for (const Size& size : kSizes) names.push_back(size.name);
  return names;
}

}  // namespace qwill
