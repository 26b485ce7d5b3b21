#include "model/qwen3.h"

#include <cmath>
#include <string>

#include "base/error.h"

namespace qwill {

// T rows, C hidden, H heads, KV kv heads, D head_dim, F intermediate, V vocabulary, R logit rows.
Tensor Qwen3::forward(Ops& ops, const Batch& batch, PagedKv& kv, const Observer& observe) const {
  ops.begin_pages(kv, batch);
  ops.begin_step(batch, rope_);
  Tensor x = ops.embed(batch, embed_);  // [T, C] f32, the residual stream
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& w = layers_[i];
    const auto index = static_cast<int64_t>(i);
    if (observe) observe(index, x);
    const Tensor qkv = ops.norm_linear(x, w.input_norm, w.qkv_proj);         // [T, (H + 2 KV) D]
    const Tensor a = ops.attend(qkv, w.q_norm, w.k_norm, batch, kv[index]);  // [T, H D]
    ops.linear_add(x, a, w.o_proj);
    if (w.moe)
      ops.moe_add(x, w.post_norm, *w.moe);
    else
      ops.linear_add(x, ops.norm_gated_mlp(x, w.post_norm, w.gate_up_proj), w.down_proj);
  }
  if (observe) observe(static_cast<int64_t>(layers_.size()), x);
  if (batch.logit_rows.empty()) return {};
  return ops.norm_linear(ops.take_rows(x, batch.logit_rows), norm_, lm_head_);  // [R, V] f32
}

double Qwen3::weight_bytes(int64_t rows) const {
  const auto bytes = [](const Weight& weight) { return static_cast<double>(weight->read_bytes()); };
  double sum = bytes(norm_.weight) + bytes(lm_head_);  // of embeddings that are not the head, a few rows
  for (const Layer& w : layers_) {
    for (const Norm* norm : {&w.input_norm, &w.q_norm, &w.k_norm, &w.post_norm}) sum += bytes(norm->weight);
    sum += bytes(w.qkv_proj) + bytes(w.o_proj);
    if (w.moe) {
      const double share = static_cast<double>(w.moe->num_experts_per_tok) / static_cast<double>(w.moe->num_experts);
      const double met = 1 - std::pow(1 - share, static_cast<double>(rows));
      sum += bytes(w.moe->router) + met * (bytes(w.moe->gate_up) + bytes(w.moe->down));
    } else {
      sum += bytes(w.gate_up_proj) + bytes(w.down_proj);
    }
  }
  return sum;
}

namespace {

// Places weights by name, in the precision that was chosen.
class Placer {
 public:
  Placer(Ops& ops, const TensorSource& tensors, DTypeChoice dtype, float eps)
      : ops_(ops), tensors_(tensors), dtype_(dtype), eps_(eps) {}

  Norm norm(const std::string& name, int64_t size) const {
    const WeightSource source = tensors_.get(name, 1, size);
    return {place({&source, 1}, WeightUse::vector, Compute::f32), eps_};
  }

  struct Part {
    std::string name;
    int64_t rows;
  };
  // The output head, which is one with the embeddings where they are tied.
  Weight head(const std::string& name, int64_t rows, int64_t cols) const {
    const WeightSource source = tensors_.get(name, rows, cols);
    return place({&source, 1}, WeightUse::matrix, ops_.head_compute(compute(source)));
  }
  Weight table(const std::string& name, int64_t rows, int64_t cols) const {
    const WeightSource source = tensors_.get(name, rows, cols);
    return place({&source, 1}, WeightUse::table, compute(source) == Compute::f32 ? Compute::f32 : Compute::bf16);
  }
  // One matrix of several stored ones, their rows one after another.
  Weight matrix(const std::vector<Part>& parts, int64_t cols) const { return place(parts, cols, WeightUse::matrix); }
  Weight gated(const std::vector<Part>& parts, int64_t cols) const { return place(parts, cols, WeightUse::gated); }
  Weight experts(const std::vector<Part>& parts, int64_t cols) const { return place(parts, cols, WeightUse::experts); }
  // Always multiplied in f32.
  Weight router(const std::string& name, int64_t rows, int64_t cols) const {
    const WeightSource source = tensors_.get(name, rows, cols);
    return place({&source, 1}, WeightUse::matrix, Compute::f32);
  }

 private:
  Weight place(const std::vector<Part>& parts, int64_t cols, WeightUse use) const {
    std::vector<WeightSource> sources;
    for (const Part& part : parts) sources.push_back(tensors_.get(part.name, part.rows, cols));
    return place(sources, use, compute(sources[0]));
  }
  Weight place(std::span<const WeightSource> sources, WeightUse use, Compute compute) const {
    const Weight weight = ops_.place(sources, use, compute);
    if (!weight->keeps_sources)
      for (const WeightSource& source : sources) tensors_.release(source);
    return weight;
  }
  Compute compute(const WeightSource& stored) const {
    if (dtype_ == DTypeChoice::automatic && stored.format != BlockFormat::none) return ops_.block_compute();
    if (dtype_ == DTypeChoice::int8) return Compute::int8;
    if (dtype_ == DTypeChoice::int4) return Compute::int4;
    if (dtype_ == DTypeChoice::fp8) return Compute::fp8;
    const bool bf16 = dtype_ == DTypeChoice::bf16 || (dtype_ == DTypeChoice::automatic && stored.dtype == DType::bf16);
    return bf16 ? Compute::bf16 : Compute::f32;
  }

  Ops& ops_;
  const TensorSource& tensors_;
  DTypeChoice dtype_;
  float eps_;
};

MoeWeights place_moe(const Placer& place, const MoeConfig& moe, const std::string& mlp, int64_t hidden_size) {
  MoeWeights weights;
  weights.num_experts = moe.num_experts;
  weights.num_experts_per_tok = moe.num_experts_per_tok;
  weights.norm_topk_prob = moe.norm_topk_prob;
  weights.router = place.router(mlp + "gate.weight", moe.num_experts, hidden_size);
  std::vector<Placer::Part> gate_up, down;
  for (int64_t e = 0; e < moe.num_experts; ++e) {
    const std::string expert = fmt::format("{}experts.{}.", mlp, e);
    gate_up.push_back({expert + "gate_proj.weight", moe.moe_intermediate_size});
    gate_up.push_back({expert + "up_proj.weight", moe.moe_intermediate_size});
    down.push_back({expert + "down_proj.weight", hidden_size});
  }
  weights.gate_up = place.gated(gate_up, hidden_size);
  weights.down = place.experts(down, moe.moe_intermediate_size);
  return weights;
}

}  // namespace

Qwen3::Qwen3(Ops& ops, const ModelConfig& config, const RopeSettings& rope, const TensorSource& tensors,
             DTypeChoice dtype)
    : config_(config), rope_(rope) {
  const Placer place(ops, tensors, dtype, static_cast<float>(config.rms_norm_eps));
  const int64_t C = config.hidden_size, D = config.head_dim, F = config.intermediate_size;
  const int64_t q_rows = config.num_heads * D, kv_rows = config.num_kv_heads * D;
  const char* const embedding = "model.embed_tokens.weight";
  embed_ = config.tie_word_embeddings ? place.head(embedding, config.vocab_size, C)
                                      : place.table(embedding, config.vocab_size, C);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i), attn = layer + "self_attn.", mlp = layer + "mlp.";
    Layer w;
    w.input_norm = place.norm(layer + "input_layernorm.weight", C);
    w.qkv_proj = place.matrix(
        {{attn + "q_proj.weight", q_rows}, {attn + "k_proj.weight", kv_rows}, {attn + "v_proj.weight", kv_rows}}, C);
    w.q_norm = place.norm(attn + "q_norm.weight", D);
    w.k_norm = place.norm(attn + "k_norm.weight", D);
    w.o_proj = place.matrix({{attn + "o_proj.weight", C}}, q_rows);
    w.post_norm = place.norm(layer + "post_attention_layernorm.weight", C);
    if (config.is_moe_layer(i)) {
      w.moe = place_moe(place, *config.moe, mlp, C);
    } else {
      w.gate_up_proj = place.gated({{mlp + "gate_proj.weight", F}, {mlp + "up_proj.weight", F}}, C);
      w.down_proj = place.matrix({{mlp + "down_proj.weight", C}}, F);
    }
    layers_.push_back(std::move(w));
  }
  norm_ = place.norm("model.norm.weight", C);
  lm_head_ = config.tie_word_embeddings ? embed_ : place.head("lm_head.weight", config.vocab_size, C);
}

}  // namespace qwill
