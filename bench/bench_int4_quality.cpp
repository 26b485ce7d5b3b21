// What four-bit weights cost in quality, on the CPU: squared error on Gaussian weights by group size, scale search and
// kind; then the perplexity of held-out text with the layers' matrices of a model rounded.
//
//     bench_int4_quality [MODEL TEXT …]        bench_int4_quality models/nib models/heldout-natural.txt
//     models/heldout.txt
//
// Documents of a text end with a line <|endoftext|>, which is predicted; a document's first token is not.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "cpu/cpu_ops.h"
#include "engine/engine_core.h"
#include "held_out.h"
#include "llm/backend.h"
#include "llm/text_files.h"
#include "model/model.h"
#include "tensor/int4.h"

namespace qwill {
namespace {

// Rounds the weights of a group in place.
using Rounding = void (*)(std::span<float> group);

template <int kSize>
void weighted_squares(std::span<float> group) {
  const float scale = choose_int4_scale<kSize>([&](int i) { return group[static_cast<size_t>(i)]; });
  for (float& w : group) w = int4_value(int4_level(w, int4_inverse(scale)), scale);
}

// The largest magnitude becomes -8 levels.
void by_maximum(std::span<float> group) {
  float extreme = 0;
  for (const float w : group)
    if (std::abs(w) > std::abs(extreme)) extreme = w;
  const float scale = rounded_to_bf16(extreme / -8);
  for (float& w : group) w = int4_value(int4_level(w, int4_inverse(scale)), scale);
}

// scale * (q + offset), both bf16: from minimum to maximum, or the best of ranges shrunk by up to a third.
template <bool kSearch>
void with_offset(std::span<float> group) {
  const auto [low, high] = std::ranges::minmax(group);
  std::vector<float> best;
  double least = 1e300;
  for (int i = 0; i <= (kSearch ? 16 : 0); ++i)
    for (int j = 0; j <= (kSearch ? 16 : 0); ++j) {
      const float from = low * (1 - 0.02f * static_cast<float>(i)), to = high * (1 - 0.02f * static_cast<float>(j));
      const float scale = rounded_to_bf16((to - from) / 15);
      if (scale == 0) continue;
      std::vector<float> rounded;
      double error = 0;
      const float base = rounded_to_bf16(from);
      for (const float w : group) {
        const float q = std::clamp(std::nearbyint((w - base) / scale), 0.0f, 15.0f);
        rounded.push_back(rounded_to_bf16(std::fma(scale, q, base)));
        error += (rounded.back() - w) * static_cast<double>(rounded.back() - w);
      }
      if (error < least) least = error, best = rounded;
    }
  if (!best.empty()) std::ranges::copy(best, group.begin());
}

struct Kind {
  const char* name;
  int64_t group;
  double bits;
  Rounding round;
};
const Kind kKinds[] = {
    {"symmetric, searched", 128, 4.125, weighted_squares<128>},
    {"symmetric, searched", 64, 4.25, weighted_squares<64>},
    {"symmetric, searched", 32, 4.5, weighted_squares<32>},
    {"symmetric, by maximum", 128, 4.125, by_maximum},
    {"symmetric, by maximum", 64, 4.25, by_maximum},
    {"symmetric, by maximum", 32, 4.5, by_maximum},
    {"offset, minimum to maximum", 128, 4.25, with_offset<false>},
    {"offset, searched", 128, 4.25, with_offset<true>},
    {"offset, searched", 64, 4.5, with_offset<true>},
    {"offset, searched", 32, 5, with_offset<true>},
};

void measure_gaussian() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> weights(1 << 18);
  for (float& w : weights) w = rounded_to_bf16(normal(random));
  for (const Kind& kind : kKinds) {
    std::vector<float> rounded = weights;
    for (size_t i = 0; i < rounded.size(); i += static_cast<size_t>(kind.group))
      kind.round({rounded.data() + i, static_cast<size_t>(kind.group)});
    double error = 0, power = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      error += std::pow(static_cast<double>(rounded[i]) - weights[i], 2);
      power += std::pow(weights[i], 2);
    }
    fmt::print("Gaussian   {:28} groups of {:3}  {:.3f} bits  relative error {:.5f}\n", kind.name, kind.group,
               kind.bits, std::sqrt(error / power));
  }
}

// A checkpoint whose matrices of layers are rounded; router, embeddings and norms as they are.
class RoundedTensors final : public TensorSource {
 public:
  RoundedTensors(const Checkpoint& checkpoint, const Kind* kind) : stored_(checkpoint), kind_(kind) {}
  WeightSource get(const std::string& name, int64_t rows, int64_t cols) const override {
    const WeightSource source = stored_.get(name, rows, cols);
    if (!kind_ || !name.ends_with("_proj.weight")) return source;
    if (source.dtype != DType::bf16 || cols % kind_->group != 0) fail_unsupported("{}: not what is measured", name);
    std::vector<float>& values = rounded_.emplace_back();
    for (int64_t i = 0; i < rows * cols; ++i) {
      bf16 value;
      std::memcpy(&value, static_cast<const char*>(source.data) + 2 * i, 2);
      values.push_back(to_float(value));
    }
    for (size_t i = 0; i < values.size(); i += static_cast<size_t>(kind_->group))
      kind_->round({values.data() + i, static_cast<size_t>(kind_->group)});
    return {values.data(), DType::f32, rows, cols};
  }

 private:
  CheckpointTensors stored_;
  const Kind* kind_;
  mutable std::deque<std::vector<float>> rounded_;
};

void measure_model(const std::string& path, const std::vector<std::string>& texts) {
  const ModelFolder folder = ModelFolder::find(path, "");
  const Checkpoint checkpoint = Checkpoint::open(folder);
  const Tokenizer tokenizer = require_tokenizer(folder);
  const ModelConfig& config = checkpoint.config();
  std::vector<const Kind*> kinds = {nullptr};
  for (const Kind& kind : kKinds) kinds.push_back(&kind);
  for (const Kind* kind : kinds) {
    const auto ops = make_cpu_ops({});
    const RoundedTensors tensors(checkpoint, kind);
    const auto model = load_model(*ops, config, rope_settings(config), tensors, DTypeChoice::f32);
    EngineCore engine(*ops, *model, {.max_seq_len = config.context_len()});
    for (const std::string& text : texts) {
      double loss = 0;
      int64_t predicted = 0;
      const MappedFile file = MappedFile::open(text);
      for (const std::vector<int32_t>& doc : encode_documents(tokenizer, file.text()))
        engine.score(doc, [&](int64_t first, const Tensor& logits) {
          for (int64_t r = 0; r < logits.rows && first + r + 1 < static_cast<int64_t>(doc.size()); ++r) {
            const std::span row(logits.row<const float>(r), static_cast<size_t>(logits.cols));
            loss += log_sum_exp(row) - row[static_cast<size_t>(doc[static_cast<size_t>(first + r + 1)])];
            ++predicted;
          }
        });
      fmt::print("{}  {:28} groups of {:3}  {} tokens of {}: perplexity {:.4f}\n", path,
                 kind ? kind->name : "as stored", kind ? kind->group : 0, predicted, text,
                 std::exp(loss / static_cast<double>(predicted)));
    }
  }
}

}  // namespace
}  // namespace qwill

int main(int argc, char** argv) {
  qwill::measure_gaussian();
  if (argc > 2) qwill::measure_model(argv[1], {argv + 2, argv + argc});
}
