#include "weights/gguf_tensors.h"

#include <fmt/format.h>

#include <charconv>
#include <unordered_map>

#include "base/error.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

struct Name {
  std::string_view hub, gguf;
};
constexpr Name kModelNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};
// Behind "model.layers.N." and "blk.N.".
constexpr Name kLayerNames[] = {
    {"input_layernorm.weight", "attn_norm.weight"},    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},      {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"}, {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"}, {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},       {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},       {"mlp.gate.weight", "ffn_gate_inp.weight"},
};
// Behind "model.layers.N.mlp.experts.E." and "blk.N.".
constexpr Name kExpertNames[] = {
    {"gate_proj.weight", "ffn_gate_exps.weight"},
    {"up_proj.weight", "ffn_up_exps.weight"},
    {"down_proj.weight", "ffn_down_exps.weight"},
};
constexpr std::string_view kLayers = "model.layers.", kExperts = "mlp.experts.";

std::string_view find_name(std::span<const Name> names, std::string_view hub) {
  for (const Name& name : names)
    if (name.hub == hub) return name.gguf;
  return "";
}

// Takes the number and the dot behind it that text begins with.
int64_t take_index(std::string_view& text) {
  int64_t index = 0;
  const char* const end = std::from_chars(text.data(), text.data() + text.size(), index).ptr;
  text.remove_prefix(std::min(text.size(), static_cast<size_t>(end - text.data()) + 1));
  return index;
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// One of the parts that an experts' tensor consists of.
StoredTensor expert_of(const StoredTensor& all, int64_t expert, int64_t num_experts,
                       const std::vector<int64_t>& wanted) {
  if (all.shape.size() != 3 || all.shape[0] != num_experts)
    fail_invalid("expected [{}, {}], found {}", num_experts, fmt::join(wanted, ", "), shape_text(all.shape));
  const size_t bytes = all.bytes.size() / static_cast<size_t>(num_experts);
  return {all.dtype,
          {all.shape[1], all.shape[2]},
          all.bytes.subspan(static_cast<size_t>(expert) * bytes, bytes),
          all.format};
}

struct Found {
  size_t shard;
  const StoredTensor* tensor;
  bool used = false;
};

std::unordered_map<std::string_view, Found> index_tensors(std::span<const GgufFile> shards) {
  std::unordered_map<std::string_view, Found> index;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const auto& [name, tensor] : shards[i].tensors()) {
      const auto [found, is_new] = index.emplace(name, Found{i, &tensor});
      if (!is_new)
        fail_invalid("{}: {}: also in {}", shards[i].file().name(), printable(name, 200),
                     shards[found->second.shard].file().name());
    }
  }
  return index;
}

}  // namespace

GgufPlace gguf_place(std::string_view hub_name) {
  if (const std::string_view name = find_name(kModelNames, hub_name); !name.empty()) return {std::string(name)};
  if (!hub_name.starts_with(kLayers)) return {};
  std::string_view rest = hub_name.substr(kLayers.size());
  const int64_t layer = take_index(rest);
  if (const std::string_view name = find_name(kLayerNames, rest); !name.empty())
    return {fmt::format("blk.{}.{}", layer, name)};
  if (!rest.starts_with(kExperts)) return {};
  rest.remove_prefix(kExperts.size());
  const int64_t expert = take_index(rest);
  return {fmt::format("blk.{}.{}", layer, find_name(kExpertNames, rest)), expert};
}

std::vector<TensorFile> with_hub_names(std::vector<GgufFile> shards, const ModelConfig& config) {
  auto index = index_tensors(shards);
  std::vector<TensorFile::Tensors> named(shards.size());
  for_each_expected_tensor(config, [&](const ExpectedTensor& expected) {
    const GgufPlace place = gguf_place(expected.name);
    const auto found = index.find(place.name);
    if (found == index.end()) return;  // told by whoever asks for it
    Found& stored = found->second;
    stored.used = true;
    with_context(shards[stored.shard].file().name(), [&] {
      with_context(place.name, [&] {
        named[stored.shard].emplace(
            expected.name, place.expert < 0
                               ? *stored.tensor
                               : expert_of(*stored.tensor, place.expert, config.moe->num_experts, expected.shape));
      });
    });
  });
  for (const auto& [name, stored] : index)
    if (!stored.used) named[stored.shard].emplace(name, *stored.tensor);
  std::vector<TensorFile> files;
  for (size_t i = 0; i < shards.size(); ++i) files.push_back(std::move(shards[i]).renamed(std::move(named[i])));
  return files;
}

}  // namespace qwill
