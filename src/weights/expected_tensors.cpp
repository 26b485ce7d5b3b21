// The hub's names and shapes of a Qwen3 model (transformers, modeling_qwen3.py and modeling_qwen3_moe.py; experts one
// by one, as checkpoints store them).
#include "base/error.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

using Visit = std::function<void(const ExpectedTensor&)>;

void visit_attention(const ModelConfig& c, const std::string& layer, const Visit& visit) {
  const std::string prefix = layer + "self_attn.";
  const int64_t q = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  visit({prefix + "q_proj.weight", {q, c.hidden_size}});
  visit({prefix + "k_proj.weight", {kv, c.hidden_size}});
  visit({prefix + "v_proj.weight", {kv, c.hidden_size}});
  visit({prefix + "q_norm.weight", {c.head_dim}});
  visit({prefix + "k_norm.weight", {c.head_dim}});
  visit({prefix + "o_proj.weight", {c.hidden_size, q}});
}

void visit_mlp(int64_t hidden, int64_t intermediate, const std::string& prefix, const Visit& visit) {
  visit({prefix + "gate_proj.weight", {intermediate, hidden}});
  visit({prefix + "up_proj.weight", {intermediate, hidden}});
  visit({prefix + "down_proj.weight", {hidden, intermediate}});
}

}  // namespace

std::string_view head_name(const ModelConfig& c) {
  return c.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
}

void for_each_expected_tensor(const ModelConfig& c, const Visit& visit) {
  visit({"model.embed_tokens.weight", {c.vocab_size, c.hidden_size}});
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    visit({layer + "input_layernorm.weight", {c.hidden_size}});
    visit_attention(c, layer, visit);
    visit({layer + "post_attention_layernorm.weight", {c.hidden_size}});
    if (!c.is_moe_layer(i)) {
      visit_mlp(c.hidden_size, c.intermediate_size, layer + "mlp.", visit);
      continue;
    }
    visit({layer + "mlp.gate.weight", {c.moe->num_experts, c.hidden_size}});
    for (int64_t e = 0; e < c.moe->num_experts; ++e)
      visit_mlp(c.hidden_size, c.moe->moe_intermediate_size, fmt::format("{}mlp.experts.{}.", layer, e), visit);
  }
  visit({"model.norm.weight", {c.hidden_size}});
  if (!c.tie_word_embeddings) visit({"lm_head.weight", {c.vocab_size, c.hidden_size}});
}

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> all;
  for_each_expected_tensor(config, [&](const ExpectedTensor& tensor) { all.push_back(tensor); });
  return all;
}

}  // namespace qwill
