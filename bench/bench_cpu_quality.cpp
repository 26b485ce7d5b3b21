// What int8 and int4 weights and activations of eight bits cost in quality on the CPU: mean KL divergence from the same
// model's weights computed in f32, and the rise of perplexity, on held-out text. Other models (a GGUF file made of the
// same weights, say) are held against it as they are.
//
//     bench_cpu_quality MODEL TEXT [OTHER_MODEL …]        bench_cpu_quality models/nib models/heldout.txt
//     nib-Q4_K_M.gguf
//
// Documents of a text end with a line <|endoftext|>, which is predicted; a document's first token is not.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "cpu/cpu_ops.h"
#include "engine/engine_core.h"
#include "held_out.h"
#include "llm/text_files.h"
#include "model/model.h"

namespace qwill {
namespace {

// A model in some precision, and what has been found of it.
struct Variant {
  std::string name;
  Checkpoint checkpoint;
  std::unique_ptr<Ops> ops = make_cpu_ops({});
  std::unique_ptr<CheckpointTensors> tensors;
  std::unique_ptr<Model> model;
  std::unique_ptr<EngineCore> engine;
  double loss = 0, divergence = 0, squares = 0;  // sums; the last two of KL divergences

  Variant(const std::string& path, DTypeChoice dtype, std::string title)
      : name(std::move(title)), checkpoint(Checkpoint::open(ModelFolder::find(path, ""))) {
    tensors = std::make_unique<CheckpointTensors>(checkpoint);
    model = load_model(*ops, checkpoint.config(), rope_settings(checkpoint.config()), *tensors, dtype);
    engine = std::make_unique<EngineCore>(
        *ops, *model, EngineConfig{.max_seq_len = checkpoint.config().context_len(), .kv_dtype = ops->kv_dtype()});
  }

  // Log-probabilities behind each token of a document, [tokens, V].
  std::vector<double> log_probs(const std::vector<int32_t>& doc) {
    std::vector<double> all;
    engine->score(doc, [&](int64_t, const Tensor& logits) {
      for (int64_t r = 0; r < logits.rows; ++r) {
        const float* row = logits.row<const float>(r);
        double sum = 0;
        for (int64_t v = 0; v < logits.cols; ++v) sum += std::exp(static_cast<double>(row[v]));
        for (int64_t v = 0; v < logits.cols; ++v) all.push_back(row[v] - std::log(sum));
      }
    });
    return all;
  }
};

// variants[0] is what the others are held against.
void measure(std::deque<Variant>& variants, const Tokenizer& tokenizer, const std::string& text) {
  const MappedFile file = MappedFile::open(text);
  int64_t predicted = 0;
  for (const std::vector<int32_t>& doc : encode_documents(tokenizer, file.text())) {
    const std::vector<double> wanted = variants[0].log_probs(doc);
    const size_t vocab = wanted.size() / doc.size();
    predicted += static_cast<int64_t>(doc.size()) - 1;
    for (Variant& variant : variants) {
      const std::vector<double> found = &variant == &variants[0] ? wanted : variant.log_probs(doc);
      for (size_t t = 0; t + 1 < doc.size(); ++t) {
        const size_t row = t * vocab;
        double divergence = 0;
        for (size_t v = row; v < row + vocab; ++v) divergence += std::exp(wanted[v]) * (wanted[v] - found[v]);
        variant.divergence += divergence;
        variant.squares += divergence * divergence;
        variant.loss -= found[row + static_cast<size_t>(doc[t + 1])];
      }
    }
  }
  const auto count = static_cast<double>(predicted);
  const double perplexity = std::exp(variants[0].loss / count);
  fmt::print("{}: {} tokens, perplexity {:.4f}\n", text, predicted, perplexity);
  for (const Variant& variant : variants) {
    if (&variant == &variants[0]) continue;
    const double mean = variant.divergence / count;
    const double deviation = std::sqrt(std::max(0.0, variant.squares / count - mean * mean) / count);
    fmt::print("  {:40} mean KL {:.3e} ± {:.1e}  perplexity {:+.4f} %\n", variant.name, mean, 1.96 * deviation,
               100 * (std::exp(variant.loss / count) / perplexity - 1));
  }
}

}  // namespace
}  // namespace qwill

int main(int argc, char** argv) {
  using namespace qwill;
  if (argc < 3) fail(ErrorKind::usage, "bench_cpu_quality MODEL TEXT [OTHER_MODEL …]");
  std::deque<Variant> variants;
  variants.emplace_back(argv[1], DTypeChoice::f32, "f32");
  variants.emplace_back(argv[1], DTypeChoice::bf16, "bf16");
  variants.emplace_back(argv[1], DTypeChoice::int8, "int8");
  variants.emplace_back(argv[1], DTypeChoice::int4, "int4");
  for (int i = 3; i < argc; ++i) variants.emplace_back(argv[i], DTypeChoice::automatic, argv[i]);
  measure(variants, require_tokenizer(ModelFolder::find(argv[1], "")), argv[2]);
}
