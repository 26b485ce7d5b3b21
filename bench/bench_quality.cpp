// What fewer bits cost in quality: the mean KL divergence from the same model's weights multiplied in f32 with a cache
// of f32, and the rise of perplexity, on held-out texts, or of random weights on random ids.
//
//     bench_quality models/nib --text models/heldout.txt [--other nib-Q4_K_M.gguf]
//     bench_quality models/nib --text models/heldout.txt --device cuda
//     bench_quality random:8b --device cuda
//
// --other: a model of the same weights in bits of its own, held against the first as it is. Documents of a text end
// with a line <|endoftext|>, which is predicted; a document's first token is not.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "engine/engine_core.h"
#include "held_out.h"
#include "llm/backend.h"
#include "llm/bench.h"
#include "llm/text_files.h"
#include "model/model.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

using Documents = std::vector<std::vector<int32_t>>;
constexpr int64_t kRandomTokens = 512;

// A model in some precision.
struct Variant {
  std::string name;
  std::string model;
  DTypeChoice dtype = DTypeChoice::automatic;
  std::optional<DType> cache = {};  // nothing: what suits the weights
};

std::vector<Variant> variants_of(const std::string& model, bool on_cuda) {
  std::vector<Variant> all = {{"f32", model, DTypeChoice::f32, DType::f32}, {"bf16", model, DTypeChoice::bf16}};
  if (on_cuda) {
    all.push_back({"bf16, cache f32", model, DTypeChoice::bf16, DType::f32});
    all.push_back({"bf16, cache fp8", model, DTypeChoice::bf16, DType::f8_e4m3});
    all.push_back({"fp8", model, DTypeChoice::fp8});
  } else {
    all.push_back({"int8", model, DTypeChoice::int8});
  }
  all.push_back({"int4", model, DTypeChoice::int4});
  return all;
}

LlmOptions on_device(const std::string& device) {
  LlmOptions options;
  options.device = device;
  return options;
}

// A variant that answers. Where weights are random they are the same in each: sources count from the same seed.
struct Loaded {
  Backend backend;
  std::optional<Checkpoint> checkpoint;
  std::unique_ptr<TensorSource> tensors;
  std::unique_ptr<Model> model;
  std::unique_ptr<EngineCore> engine;

  Loaded(const Variant& variant, const std::string& device, int64_t max_seq_len)
      : backend(open_backend(on_device(device))) {
    ModelConfig config;
    if (const auto random = random_config(variant.model)) {
      config = *random;
      tensors = random_source(config, backend.on_cuda);
    } else {
      checkpoint.emplace(Checkpoint::open(ModelFolder::find(variant.model, "")));
      config = checkpoint->config();
      tensors = std::make_unique<CheckpointTensors>(*checkpoint);
    }
    Ops& ops = *backend.ops;
    model = load_model(ops, config, rope_settings(config), *tensors, variant.dtype);
    engine = std::make_unique<EngineCore>(
        ops, *model, EngineConfig{.max_seq_len = max_seq_len, .kv_dtype = variant.cache.value_or(ops.kv_dtype())});
  }

  // Log-probabilities behind each token of a document, [tokens, V].
  std::vector<double> log_probs(const std::vector<int32_t>& doc) {
    std::vector<double> all;
    engine->score(doc, [&](int64_t, const Tensor& logits) {
      for (int64_t r = 0; r < logits.rows; ++r) {
        const std::span row(logits.row<const float>(r), static_cast<size_t>(logits.cols));
        const double normaliser = log_sum_exp(row);
        for (const float logit : row) all.push_back(logit - normaliser);
      }
    });
    return all;
  }
};

// variants[0] is what the others are held against; they run one after the other, since a card holds few of a large one.
void measure(const std::vector<Variant>& variants, const std::string& device, const Documents& docs,
             const std::string& text) {
  size_t longest = 0;
  for (const std::vector<int32_t>& doc : docs) longest = std::max(longest, doc.size());
  std::vector<std::vector<double>> wanted;
  double exact = 0;  // perplexity
  for (const Variant& variant : variants) {
    Loaded loaded(variant, device, static_cast<int64_t>(longest));
    double loss = 0, divergence = 0, squares = 0, count = 0;
    for (size_t i = 0; i < docs.size(); ++i) {
      const std::vector<double> found = loaded.log_probs(docs[i]);
      if (&variant == &variants[0]) wanted.push_back(found);
      const size_t vocab = found.size() / docs[i].size();
      for (size_t t = 0; t + 1 < docs[i].size(); ++t) {
        double kl = 0;
        for (size_t v = t * vocab; v < (t + 1) * vocab; ++v) kl += std::exp(wanted[i][v]) * (wanted[i][v] - found[v]);
        divergence += kl;
        squares += kl * kl;
        loss -= found[t * vocab + static_cast<size_t>(docs[i][t + 1])];
        ++count;
      }
    }
    const double mean = divergence / count, perplexity = std::exp(loss / count);
    if (&variant == &variants[0]) {
      exact = perplexity;
      fmt::print("{}, {}: {} tokens, perplexity {:.4f}\n", text, loaded.backend.name, count, perplexity);
      continue;
    }
    const double deviation = std::sqrt(std::max(0.0, squares / count - mean * mean) / count);
    fmt::print("  {:40} mean KL {:.3e} ± {:.1e}  perplexity {:+.4f} %\n", variant.name, mean, 1.96 * deviation,
               100 * (perplexity / exact - 1));
  }
}

}  // namespace
}  // namespace qwill

int main(int argc, char** argv) {
  using namespace qwill;
  CLI::App app("What fewer bits cost in quality");
  std::string model, device = "cpu";
  std::vector<std::string> texts, others;
  app.add_option("MODEL", model, "a folder, a GGUF file, or random:SIZE")->required();
  app.add_option("--text", texts, "held-out text");
  app.add_option("--other", others, "a model of the same weights");
  app.add_option("--device", device, "cpu or cuda");
  CLI11_PARSE(app, argc, argv);

  std::vector<Variant> variants = variants_of(model, device != "cpu");
  for (const std::string& other : others) variants.push_back({other, other});
  if (const auto random = random_config(model)) {
    measure(variants, device, {random_prompt(kRandomTokens, random->vocab_size, 1)}, model);
    return 0;
  }
  const Tokenizer tokenizer = require_tokenizer(ModelFolder::find(model, ""));
  for (const std::string& text : texts)
    measure(variants, device, encode_documents(tokenizer, MappedFile::open(text).text()), text);
}
