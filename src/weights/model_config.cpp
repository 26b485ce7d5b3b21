#include "weights/model_config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "weights/config_fields.h"
#include "weights/panel_tensors.h"

namespace qwill {
namespace {

// Far above any published model, and low enough that the products below stay in range.
constexpr int64_t kMaxHiddenSize = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 10000;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxHeadDim = int64_t{1} << 16;
constexpr int64_t kMaxIntermediateSize = int64_t{1} << 24;
constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 30;
constexpr int64_t kMaxExperts = int64_t{1} << 16;
constexpr int64_t kMaxExpertsOfAllLayers = int64_t{1} << 18;
constexpr int64_t kMaxParameters = int64_t{1} << 50;
constexpr int64_t kMaxKvElements = int64_t{1} << 28;  // of one token: times kMaxPositions it still has a size in bytes
constexpr double kMaxRopeFactor = 1e6;

constexpr std::string_view kDenseType = "qwen3", kMoeType = "qwen3_moe";
constexpr std::string_view kDenseArchitecture = "Qwen3ForCausalLM", kMoeArchitecture = "Qwen3MoeForCausalLM";

// Whether the file describes the mixture-of-experts architecture. Refuses everything but the two.
bool read_architecture(const Json& config) {
  const std::string type = config.string_or("model_type", "");
  std::string architecture;
  if (const Json* list = config.find_value("architectures")) {
    with_context("architectures", [&] {
      if (!list->as_array().empty()) architecture = list->as_array().front().as_string();
    });
  }
  if (type.empty() && architecture.empty()) fail_invalid("model_type: missing");
  if (!type.empty() && type != kDenseType && type != kMoeType)
    fail_unsupported("model_type: {} is not supported, only {} and {} are", printable(type), kDenseType, kMoeType);
  if (!architecture.empty() && architecture != kDenseArchitecture && architecture != kMoeArchitecture)
    fail_unsupported("architectures: {} is not supported, only {} and {} are", printable(architecture),
                     kDenseArchitecture, kMoeArchitecture);
  if (!type.empty() && !architecture.empty() && (type == kMoeType) != (architecture == kMoeArchitecture))
    fail_invalid("architectures: {} does not go with model_type {}", architecture, type);
  return type.empty() ? architecture == kMoeArchitecture : type == kMoeType;
}

// Whether `qwill quantize` made it; nobody else's bits are read.
bool read_quantization(const Json& config) {
  const Json* quantization = config.find_value("quantization_config");
  if (!quantization) return false;
  return with_context("quantization_config", [&] {
    const std::string method = quantization->string_or("quant_method", "unnamed");
    if (method != kQuantMethod)
      fail_unsupported("checkpoints that others quantised (here: {}) are not supported, only \"qwill quantize\"'s are",
                       printable(method));
    if (const int64_t format = quantization->integer("format"); format < 1 || format > kPanelsFormat)
      fail_unsupported("format: {} is not what this version reads (1 to {}): quantise the original again", format,
                       kPanelsFormat);
    return true;
  });
}

void refuse_unsupported(const Json& config) {
  if (config.boolean_or("attention_bias", false)) fail_unsupported("attention_bias: true is not supported");
  if (const std::string act = config.string_or("hidden_act", "silu"); act != "silu")
    fail_unsupported("hidden_act: {} is not supported, only silu is", printable(act));
  // The window itself may be null, which turns it off; where the key is absent, the reference takes 4096.
  const Json* window = config.find("sliding_window");
  if (window && !window->is_null()) with_context("sliding_window", [&] { window->as_integer(); });
  if (config.boolean_or("use_sliding_window", false) && (!window || !window->is_null()))
    fail_unsupported("use_sliding_window: sliding windows are not supported");
  if (const Json* types = config.find_value("layer_types")) {
    with_context("layer_types", [&] {
      for (const Json& type : types->as_array())
        if (type.as_string() != "full_attention")
          fail_unsupported("{} is not supported, only full_attention is", printable(type.as_string()));
    });
  }
}

// The object that holds the rope settings. The old key wins where it is not empty, as in the reference.
const Json* rope_object(const Json& config) {
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    const Json* rope = config.find_value(key);
    if (!rope) continue;
    const auto& members = with_context(key, [&]() -> auto& { return rope->as_object(); });
    for (const auto& [name, value] : members)
      if (value.is_object()) fail_unsupported("{}: settings for each layer type are not supported", key);
    if (!members.empty()) return rope;
  }
  return nullptr;
}

// 0.1 · scale · ln(factor) + 1, the temperature of arXiv:2309.00071, equation 22, as the reference generalises it.
double yarn_mscale(double factor, double scale) { return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; }

double read_beta(const Json& rope, std::string_view key, double fallback) {
  const double value = bounded_number_or(rope, key, fallback, {0, 1e9});
  return value == 0 ? fallback : value;  // the reference takes 0 for "not given"
}

// transformers 5.17, modeling_rope_utils.py, _compute_yarn_parameters and standardize_rope_params.
YarnConfig read_yarn(const Json& rope, const Json& config, ModelConfig& out) {
  YarnConfig yarn;
  // A value beside the rope settings wins over the one inside.
  const Json& original_in = config.find_value("original_max_position_embeddings") ? config : rope;
  yarn.original_max_position_embeddings = bounded_integer_or(original_in, "original_max_position_embeddings",
                                                             out.max_position_embeddings, 1, kMaxPositions);
  const double implied =
      static_cast<double>(out.max_position_embeddings) / static_cast<double>(yarn.original_max_position_embeddings);

  const Json* factor = rope.find("factor");
  if (!factor) fail_invalid("factor: missing");
  yarn.factor = factor->is_null() ? implied : bounded_number(rope, "factor", {0, kMaxRopeFactor, true});
  if (yarn.factor < 1)
    out.warnings.push_back(
        fmt::format("rope factor {} is below 1: positions are stretched, not squeezed", yarn.factor));
  if (implied != yarn.factor && implied != 1)
    out.warnings.push_back(
        fmt::format("rope factor {} is used, though max_position_embeddings {} is {:.6g} times "
                    "original_max_position_embeddings {}",
                    yarn.factor, out.max_position_embeddings, implied, yarn.original_max_position_embeddings));

  const double mscale = bounded_number_or(rope, "mscale", 0, {-1e6, 1e6});
  const double mscale_all_dim = bounded_number_or(rope, "mscale_all_dim", 0, {-1e6, 1e6});
  if (rope.find_value("attention_factor"))
    yarn.attention_factor = bounded_number(rope, "attention_factor", {0, 1e6, true});
  else if (mscale != 0 && mscale_all_dim != 0)
    yarn.attention_factor = yarn_mscale(yarn.factor, mscale) / yarn_mscale(yarn.factor, mscale_all_dim);
  else
    yarn.attention_factor = yarn_mscale(yarn.factor, 1);
  if (!(yarn.attention_factor > 0 && yarn.attention_factor <= 1e6))
    fail_invalid("mscale: {} with mscale_all_dim {} gives the attention factor {}", mscale, mscale_all_dim,
                 yarn.attention_factor);

  yarn.beta_fast = read_beta(rope, "beta_fast", 32);
  yarn.beta_slow = read_beta(rope, "beta_slow", 1);
  if (yarn.beta_fast < yarn.beta_slow)
    out.warnings.push_back(fmt::format("rope beta_fast {} is below beta_slow {}", yarn.beta_fast, yarn.beta_slow));
  const Json* truncate = rope.find("truncate");
  if (truncate) yarn.truncate = rope.boolean_or("truncate", false);  // the reference takes null for false
  return yarn;
}

void read_rope(const Json& config, ModelConfig& out) {
  const Json* rope = rope_object(config);
  const Json& theta_in = rope && rope->find("rope_theta") ? *rope : config;
  // Not a null that falls back: the reference refuses it too.
  if (const Json* theta = theta_in.find("rope_theta"); theta && theta->is_null())
    fail_invalid("rope_theta: expected a number, found null");
  out.rope_theta = bounded_number_or(theta_in, "rope_theta", 10000, {1, 1e18, true});

  std::string type = "default";
  if (rope) type = rope->string_or("rope_type", rope->find_value("rope_type") ? "" : rope->string_or("type", type));
  if (type != "default" && type != "yarn")
    fail_unsupported("rope_type: {} is not supported, only default and yarn are", printable(type));

  const Json& partial_in = rope && rope->find_value("partial_rotary_factor") ? *rope : config;
  const double partial = bounded_number_or(partial_in, "partial_rotary_factor", 1, {0, 1, true});
  if (type == "yarn") {
    if (partial != 1) fail_unsupported("partial_rotary_factor: {} is not supported", partial);
    out.yarn = with_context("rope_type yarn", [&] { return read_yarn(*rope, config, out); });
  } else {
    if (partial != 1)
      out.warnings.push_back("partial_rotary_factor is ignored without YaRN, as the reference ignores it");
    if (rope && rope->find_value("factor")) out.warnings.push_back("the rope factor is ignored: rope_type is default");
  }
}

void read_moe(const Json& config, ModelConfig& out) {
  const std::string_view experts_key = config.find_value("num_local_experts") ? "num_local_experts" : "num_experts";
  MoeConfig moe;
  moe.num_experts = bounded_integer(config, experts_key, 0, kMaxExperts);
  if (moe.num_experts == 0) return;  // no layer of experts: the dense model
  if (moe.num_experts * out.num_layers > kMaxExpertsOfAllLayers)
    fail_invalid("{}: {} in each of {} layers are more than the {} that are supported", experts_key, moe.num_experts,
                 out.num_layers, kMaxExpertsOfAllLayers);
  moe.num_experts_per_tok = bounded_integer(config, "num_experts_per_tok", 1, moe.num_experts);
  moe.moe_intermediate_size = bounded_integer(config, "moe_intermediate_size", 1, kMaxIntermediateSize);
  moe.norm_topk_prob = config.boolean_or("norm_topk_prob", false);
  moe.decoder_sparse_step = bounded_integer_or(config, "decoder_sparse_step", 1, 1, kMaxLayers);
  if (const Json* layers = config.find_value("mlp_only_layers")) {
    with_context("mlp_only_layers", [&] {
      for (const Json& item : layers->as_array()) {
        const int64_t layer = item.as_integer();
        if (layer < 0) fail_invalid("expected layer indices, found {}", layer);
        if (layer < out.num_layers) moe.mlp_only_layers.push_back(layer);
      }
    });
    std::sort(moe.mlp_only_layers.begin(), moe.mlp_only_layers.end());
    moe.mlp_only_layers.erase(std::unique(moe.mlp_only_layers.begin(), moe.mlp_only_layers.end()),
                              moe.mlp_only_layers.end());
  }
  out.moe = std::move(moe);
}

bool has_dense_layer(const ModelConfig& config) {
  for (int64_t i = 0; i < config.num_layers; ++i)
    if (!config.is_moe_layer(i)) return true;
  return false;
}

void read_shapes(const Json& config, bool moe, ModelConfig& out) {
  out.hidden_size = bounded_integer(config, "hidden_size", 1, kMaxHiddenSize);
  out.num_layers = bounded_integer(config, "num_hidden_layers", 1, kMaxLayers);
  out.num_heads = bounded_integer(config, "num_attention_heads", 1, kMaxHeads);
  out.vocab_size = bounded_integer(config, "vocab_size", 1, kMaxVocabSize);

  // A null in a dense configuration means one key head per query head; the mixture-of-experts class refuses it.
  const Json* kv_heads = config.find("num_key_value_heads");
  out.num_kv_heads = kv_heads && kv_heads->is_null() && !moe
                         ? out.num_heads
                         : bounded_integer(config, "num_key_value_heads", 1, kMaxHeads);
  if (out.num_heads % out.num_kv_heads != 0)
    fail_invalid("num_key_value_heads: {} does not divide num_attention_heads {}", out.num_kv_heads, out.num_heads);

  // The two classes of the reference differ: the dense one defaults to 128 and refuses null, the other divides.
  const Json* head_dim = config.find("head_dim");
  if (moe && (!head_dim || head_dim->is_null()))
    out.head_dim = out.hidden_size / out.num_heads;
  else
    out.head_dim = head_dim ? bounded_integer(config, "head_dim", 1, kMaxHeadDim) : 128;
  if (out.head_dim < 2 || out.head_dim % 2 != 0)
    fail_invalid("head_dim: {} is not an even number of at least 2", out.head_dim);

  out.max_position_embeddings = bounded_integer_or(config, "max_position_embeddings", 32768, 1, kMaxPositions);
  if (moe) read_moe(config, out);
  // Without a dense layer nothing reads the key, and files may lack it.
  if (has_dense_layer(out))
    out.intermediate_size = bounded_integer(config, "intermediate_size", 1, kMaxIntermediateSize);
  else
    out.intermediate_size = bounded_integer_or(config, "intermediate_size", 0, 0, kMaxIntermediateSize);
}

struct LayerSizes {
  double attention, dense_mlp, expert, router;
};

LayerSizes layer_sizes(const ModelConfig& config) {
  const double hidden = static_cast<double>(config.hidden_size);
  const double q = static_cast<double>(config.num_heads * config.head_dim);
  const double kv = static_cast<double>(config.num_kv_heads * config.head_dim);
  LayerSizes sizes{};
  sizes.attention = hidden * (2 * q + 2 * kv) + 2 * static_cast<double>(config.head_dim) + 2 * hidden;
  sizes.dense_mlp = 3 * hidden * static_cast<double>(config.intermediate_size);
  if (config.moe) {
    sizes.expert = 3 * hidden * static_cast<double>(config.moe->moe_intermediate_size);
    sizes.router = hidden * static_cast<double>(config.moe->num_experts);
  }
  return sizes;
}

// In doubles, which are exact up to the bound of 2^50 and cannot overflow while that bound is being checked.
double count_parameters(const ModelConfig& config, double experts_used) {
  const LayerSizes sizes = layer_sizes(config);
  double total = static_cast<double>(config.hidden_size) *
                 (static_cast<double>(config.vocab_size) * (config.tie_word_embeddings ? 1 : 2) + 1);
  for (int64_t i = 0; i < config.num_layers; ++i)
    total += sizes.attention + (config.is_moe_layer(i) ? sizes.router + experts_used * sizes.expert : sizes.dense_mlp);
  return total;
}

}  // namespace

bool ModelConfig::is_moe_layer(int64_t layer) const {
  return moe && (layer + 1) % moe->decoder_sparse_step == 0 &&
         !std::binary_search(moe->mlp_only_layers.begin(), moe->mlp_only_layers.end(), layer);
}

int64_t ModelConfig::context_len() const {
  if (!yarn) return max_position_embeddings;
  const double scaled = yarn->factor * static_cast<double>(yarn->original_max_position_embeddings);
  return std::max(max_position_embeddings, static_cast<int64_t>(std::min(scaled, static_cast<double>(kMaxPositions))));
}

int64_t ModelConfig::num_parameters() const {
  return static_cast<int64_t>(count_parameters(*this, moe ? static_cast<double>(moe->num_experts) : 0));
}

int64_t ModelConfig::num_active_parameters() const {
  return static_cast<int64_t>(count_parameters(*this, moe ? static_cast<double>(moe->num_experts_per_tok) : 0));
}

ModelConfig ModelConfig::from_json(const Json& config) {
  config.as_object();
  const bool moe = read_architecture(config);
  refuse_unsupported(config);
  ModelConfig out;
  out.in_panels = read_quantization(config);
  read_shapes(config, moe, out);
  out.rms_norm_eps = bounded_number_or(config, "rms_norm_eps", 1e-6, {0, 1, true});
  out.tie_word_embeddings = config.boolean_or("tie_word_embeddings", false);
  read_rope(config, out);
  out.eos_token_ids = read_token_ids(config, "eos_token_id");
  for (const int32_t id : out.eos_token_ids)
    if (id >= out.vocab_size) out.warnings.push_back(fmt::format("eos_token_id {} is outside the vocabulary", id));
  out.dtype = config.string_or(config.find_value("dtype") ? "dtype" : "torch_dtype", "");
  if (const double total = count_parameters(out, out.moe ? static_cast<double>(out.moe->num_experts) : 0);
      total > static_cast<double>(kMaxParameters))
    fail_invalid("hidden_size, num_hidden_layers and the other sizes make {:.3g} parameters, more than 2^50", total);
  if (out.kv_elements_per_token() > kMaxKvElements)
    fail_invalid("num_hidden_layers, num_key_value_heads and head_dim make {} cache elements a token, more than 2^28",
                 out.kv_elements_per_token());
  return out;
}

}  // namespace qwill
