#include "weights/gguf_config.h"

#include <algorithm>
#include <cmath>

namespace qwill {
namespace {

constexpr std::string_view kArchitecture = "general.architecture", kDense = "qwen3", kMoe = "qwen3moe";

// Keys behind "qwen3." and what config.json calls them.
struct Field {
  std::string_view key, hub;
  bool is_integer = true, only_moe = false;
};
constexpr Field kFields[] = {
    {"block_count", "num_hidden_layers"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", false},
    {"rope.freq_base", "rope_theta", false},
    {"expert_count", "num_experts", true, true},
    {"expert_used_count", "num_experts_per_tok", true, true},
    {"expert_feed_forward_length", "moe_intermediate_size", true, true},
};

int64_t integer(const GgufValue& value) { return value.as_integer(); }
double number(const GgufValue& value) { return value.as_number(); }
std::string_view string(const GgufValue& value) { return value.as_string(); }

class ConfigReader {
 public:
  explicit ConfigReader(std::span<const GgufFile> shards)
      : shards_(shards), file_(shards[0]), architecture_(file_.read(kArchitecture, string)) {
    if (architecture_ != kDense && architecture_ != kMoe)
      fail_unsupported("{}: {}: {} is not supported, only {} and {} are", file_.file().name(), kArchitecture,
                       printable(architecture_), kDense, kMoe);
  }

  ModelConfig read() const {
    refuse_unsupported();
    const bool moe = architecture_ == kMoe;
    Json config = Json::object();
    config.set("model_type", moe ? "qwen3_moe" : "qwen3");
    for (const Field& field : kFields) {
      if (field.only_moe && !moe) continue;
      const std::string key = full(field.key);
      config.set(field.hub, field.is_integer ? Json(file_.read(key, integer)) : Json(file_.read(key, number)));
    }
    if (moe) config.set("norm_topk_prob", true);  // no key says so: the architecture does
    set_rope_scaling(config);
    // What no key says, the tensors do.
    const StoredTensor* embedding = find_tensor("token_embd.weight");
    if (!embedding) fail_invalid("{}: token_embd.weight: missing, or of a type that is not supported", name());
    config.set("vocab_size", embedding->shape.front());
    config.set("tie_word_embeddings", !has_tensor("output.weight"));
    return with_context(name(), [&] { return from_json(config); });
  }

 private:
  const std::string& name() const { return file_.file().name(); }
  std::string full(std::string_view key) const { return fmt::format("{}.{}", architecture_, key); }
  bool has(std::string_view key) const { return file_.find_value(full(key)) != nullptr; }
  double number_or(std::string_view key, double fallback) const {
    return has(key) ? file_.read(full(key), number) : fallback;
  }

  const StoredTensor* find_tensor(std::string_view tensor) const {
    for (const GgufFile& shard : shards_)
      if (const StoredTensor* found = shard.find(tensor)) return found;
    return nullptr;
  }
  bool has_tensor(std::string_view tensor) const {
    return std::ranges::any_of(
        shards_, [&](const GgufFile& shard) { return shard.find(tensor) || shard.unsupported().contains(tensor); });
  }

  void refuse_unsupported() const {
    const auto expect = [&](std::string_view key, double wanted, std::string_view what) {
      if (number_or(key, wanted) != wanted)
        fail_unsupported("{}: {}: {} is not supported: {}", name(), full(key), number_or(key, wanted), what);
    };
    expect("pooling_type", 0, "an embedding model");
    expect("attention.sliding_window", 0, "sliding windows");
    expect("expert_shared_count", 0, "shared experts");
    const double head_dim = file_.read(full("attention.key_length"), number);
    expect("attention.value_length", head_dim, "values have the size of keys");
    expect("rope.dimension_count", head_dim, "all of a head is rotated");
    for (const GgufFile& shard : shards_) {
      for (const auto& [tensor, stored] : shard.tensors()) {
        const bool bias = tensor.starts_with("blk.") && tensor.ends_with(".bias");
        if (bias || tensor == "rope_freqs.weight")
          fail_unsupported("{}: {}: {} not supported", shard.file().name(), printable(tensor, 200),
                           bias ? "biases are" : "factors of the rope's frequencies are");
      }
    }
  }

  void set_rope_scaling(Json& config) const {
    const double factor = number_or("rope.scaling.factor", 0);
    std::string type = factor == 0 || factor == 1 ? "none" : "linear";  // the format's default
    if (has("rope.scaling.type")) type = file_.read(full("rope.scaling.type"), string);
    if (type == "none" || (type == "linear" && (factor == 0 || factor == 1))) return;
    Json rope = Json::object();
    rope.set("rope_type", type).set("factor", factor);
    if (has("rope.scaling.original_context_length"))
      rope.set("original_max_position_embeddings", file_.read(full("rope.scaling.original_context_length"), integer));
    rope.set("beta_fast", number_or("rope.scaling.yarn_beta_fast", 32));
    rope.set("beta_slow", number_or("rope.scaling.yarn_beta_slow", 1));
    if (const double mix = number_or("rope.scaling.yarn_ext_factor", 1); mix != 1)
      fail_unsupported("{}: {}: {} is not supported", name(), full("rope.scaling.yarn_ext_factor"), mix);
    for (const std::string_view key : {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"}) {
      // To some it multiplies what the factor makes, to others it is the product: only where both agree is it clear.
      const double given = number_or(key, 1), usual = 0.1 * std::log(factor) + 1;
      if (given != 1 && !(std::abs(given - usual) < 1e-5))
        fail_unsupported("{}: {}: {} is not supported, only 1 and {:.6g}, which goes with the factor {}", name(),
                         full(key), given, usual, factor);
    }
    config.set("rope_scaling", std::move(rope));
  }

  // Messages begin with a key of config.json: the file's own is put in its place.
  ModelConfig from_json(const Json& config) const {
    try {
      return ModelConfig::from_json(config);
    } catch (const Error& e) {
      const std::string_view message = e.what();
      for (const Field& field : kFields)
        if (message.starts_with(fmt::format("{}:", field.hub)))
          throw Error(e.kind(), full(field.key) + std::string(message.substr(field.hub.size())));
      throw;
    }
  }

  std::span<const GgufFile> shards_;
  const GgufFile& file_;
  std::string_view architecture_;
};

}  // namespace

ModelConfig read_gguf_config(std::span<const GgufFile> shards) { return ConfigReader(shards).read(); }

GenerationConfig read_gguf_generation_config(const GgufFile& file) {
  Json config = Json::object();
  const std::pair<std::string_view, std::string_view> numbers[] = {{"general.sampling.temp", "temperature"},
                                                                   {"general.sampling.top_p", "top_p"},
                                                                   {"general.sampling.min_p", "min_p"}};
  for (const auto& [key, hub] : numbers)
    if (file.find_value(key)) config.set(hub, file.read(key, number));
  if (file.find_value("general.sampling.top_k")) config.set("top_k", file.read("general.sampling.top_k", integer));
  if (!config.as_object().empty()) config.set("do_sample", config.number_or("temperature", 1) != 0);
  if (file.find_value("general.sampling.penalty_repeat"))
    config.set("repetition_penalty", file.read("general.sampling.penalty_repeat", number));

  std::vector<int64_t> ends;
  const auto add = [&](int64_t id) {
    if (std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
  };
  for (const std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    if (file.find_value(key)) add(file.read(key, integer));
  // Chat models end with this one too.
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens", kEndOfText = "<|endoftext|>";
  if (file.find_value(kTokens)) {
    const auto tokens = file.read(kTokens, [](const GgufValue& value) { return value.as_strings(); });
    const auto found = std::ranges::find(tokens, kEndOfText);
    if (found != tokens.end()) add(found - tokens.begin());
  }
  config.set("eos_token_id", Json::array({ends.begin(), ends.end()}));
  return with_context(file.file().name(), [&] { return GenerationConfig::from_json(config); });
}

}  // namespace qwill
