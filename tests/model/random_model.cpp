#include "model/random_model.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "support/backends.h"

namespace qwill::test {
namespace {

const char* name_of(DTypeChoice dtype) {
  switch (dtype) {
    case DTypeChoice::automatic: return "auto";
    case DTypeChoice::f32: return "f32";
    case DTypeChoice::bf16: return "bf16";
    case DTypeChoice::fp8: return "fp8";
    case DTypeChoice::int8: return "int8";
    case DTypeChoice::int4: return "int4";
  }
  return "";
}

template <typename T>
T any(Random& random, const std::vector<T>& choices) {
  return choices[static_cast<size_t>(random.below(static_cast<int64_t>(choices.size())))];
}

// Half of them odd multiples of a step, the others any number.
int64_t random_size(Random& random, int64_t least, int64_t most) {
  const auto step = any<int64_t>(random, {1, 2, 4, 8, 16, 32, 64, 128});
  int64_t size = random.between(least, most);
  if (random.below(2) == 0) size = std::max(step, size / step / 2 * 2 * step + step);
  return std::clamp(size, least, most);
}

}  // namespace

std::string RandomModel::describe() const {
  const ModelConfig& c = config;
  std::string text = fmt::format(
      "{} layers, hidden {}, {} heads of {} sharing {}, ffn {}, vocabulary {}{}, stored {}, {}, cache {}, pages of {}",
      c.num_layers, c.hidden_size, c.num_heads, c.head_dim, c.num_kv_heads, c.intermediate_size, c.vocab_size,
      c.tie_word_embeddings ? " tied" : "", dtype_name(stored), name_of(dtype), dtype_name(cache), page_size);
  if (c.moe)
    text += fmt::format(", {} of {} experts of {}{}", c.moe->num_experts_per_tok, c.moe->num_experts,
                        c.moe->moe_intermediate_size, c.moe->norm_topk_prob ? " normed" : "");
  return text;
}

RandomModel random_model(Random& random, const std::string& backend, ModelKind kind) {
  const bool large = kind == ModelKind::large;
  RandomModel model;
  model.poisoned = kind == ModelKind::poisoned;
  ModelConfig& c = model.config;
  const bool on_card = backend.starts_with("cuda");
  c.num_layers = random.between(1, large ? 2 : 3);
  c.hidden_size = large ? random_size(random, 1000, 6144) : random_size(random, 8, 400);
  c.head_dim = any<int64_t>(random, {64, 128, 128, 128, 64, 2 * random.between(8, 64)});
  c.num_kv_heads = random.between(1, large ? 8 : 3);
  c.num_heads = c.num_kv_heads * random.between(1, random.below(4) == 0 ? 16 : large ? 4 : 8);
  if (large) c.num_heads = c.num_kv_heads * std::max<int64_t>(1, std::min<int64_t>(c.num_heads, 40) / c.num_kv_heads);
  c.intermediate_size = large ? random_size(random, 1000, 9000) : random_size(random, 8, 500);
  c.vocab_size = random.between(20, large ? 3000 : 300);
  c.max_position_embeddings = 1 << 16;
  c.rope_theta = any<double>(random, {10000, 1e6});
  c.tie_word_embeddings = random.below(3) == 0 && !model.poisoned;
  if (random.below(4) == 0)
    c.yarn = YarnConfig{.factor = 4, .original_max_position_embeddings = 512, .attention_factor = 1.1386};
  if (random.below(3) == 0) {
    MoeConfig& moe = c.moe.emplace();
    moe.num_experts = any<int64_t>(random, {1, 2, 3, 5, 8, 33, random.between(1, 40)});
    if (!large && random.below(6) == 0) moe.num_experts = random.between(120, 140);
    moe.num_experts_per_tok = random.between(1, std::min<int64_t>(moe.num_experts, random.below(4) == 0 ? 16 : 8));
    moe.moe_intermediate_size = large ? random_size(random, 200, 1000) : random_size(random, 4, 150);
    moe.norm_topk_prob = random.below(2) == 0;
    if (large) c.hidden_size = std::min<int64_t>(c.hidden_size, 2100);
    if (c.num_layers > 1 && random.below(2) == 0) moe.mlp_only_layers = {random.below(c.num_layers)};
  }
  model.stored = any<DType>(random, {DType::bf16, DType::bf16, DType::f32, DType::f16});
  std::vector<DTypeChoice> dtypes = {DTypeChoice::automatic, DTypeChoice::f32, DTypeChoice::bf16, DTypeChoice::bf16};
  if (has_fp8(backend)) dtypes.insert(dtypes.end(), 2, DTypeChoice::fp8);
  if (has_int4(backend) || has_panels(backend)) dtypes.insert(dtypes.end(), 2, DTypeChoice::int4);
  if (has_panels(backend)) dtypes.push_back(DTypeChoice::int8);
  model.dtype = any(random, dtypes);
  std::vector<DType> caches = cache_dtypes(backend);
  caches.insert(caches.end(), 2, caches.front());
  caches.push_back(DType::f32);
  model.cache = any(random, caches);
  model.page_size = any<int64_t>(random, {64, 64, 128});
  if (on_card && large) model.stored = DType::bf16;
  model.seed = random.next();
  return model;
}

WeightSource RandomModelTensors::get(const std::string& name, int64_t rows, int64_t cols) const {
  std::vector<char>& bytes = tensors_[name];
  const auto count = static_cast<size_t>(rows * cols);
  if (bytes.empty()) {
    Random random(model_.seed ^ std::hash<std::string>()(name));
    const bool embedding = name == "model.embed_tokens.weight", norm = name.ends_with("norm.weight");
    const float spread = embedding ? 1 : std::sqrt(3 / static_cast<float>(cols));
    const size_t size = model_.stored == DType::f32 ? 4 : 2;
    bytes.resize(count * size);
    for (size_t i = 0; i < count; ++i) {
      float value = norm ? random.uniform(0.5f, 1.5f) : random.uniform(-spread, spread);
      if (embedding && model_.poisoned && i >= count - static_cast<size_t>(cols))
        value = std::numeric_limits<float>::quiet_NaN();
      char* to = bytes.data() + i * size;
      if (model_.stored == DType::f32)
        std::memcpy(to, &value, 4);
      else if (const uint16_t bits = model_.stored == DType::bf16 ? to_bf16(value).bits : to_f16(value).bits; true)
        std::memcpy(to, &bits, 2);
    }
  }
  return {.data = bytes.data(), .dtype = model_.stored, .rows = rows, .cols = cols};
}

}  // namespace qwill::test
