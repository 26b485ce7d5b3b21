// What a cache of fewer bits costs in quality on a card: mean KL divergence from the same model's answers with a cache
// of float32, and the rise of perplexity, on held-out text, or of random weights on random ids.
//
//     bench_cache_quality MODEL TEXT …        bench_cache_quality models/nib models/heldout.txt
//     bench_cache_quality random:8b
//
// Documents of a text end with a line <|endoftext|>, which is predicted; a document's first token is not.
#include <fmt/core.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "cuda/cuda_ops.h"
#include "engine/engine_core.h"
#include "held_out.h"
#include "llm/bench.h"
#include "llm/text_files.h"
#include "model/model.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

using Documents = std::vector<std::vector<int32_t>>;

// Log-probabilities behind each token of all documents, [tokens, V], with such a cache.
std::vector<float> log_probs(Ops& ops, const Model& model, const Documents& docs, DType cache) {
  EngineCore engine(ops, model, EngineConfig{.max_seq_len = 4096, .kv_dtype = cache});
  std::vector<float> all;
  for (const std::vector<int32_t>& doc : docs)
    engine.score(doc, [&](int64_t, const Tensor& logits) {
      for (int64_t r = 0; r < logits.rows; ++r) {
        const float* row = logits.row<const float>(r);
        double sum = 0;
        for (int64_t v = 0; v < logits.cols; ++v) sum += std::exp(static_cast<double>(row[v]));
        for (int64_t v = 0; v < logits.cols; ++v) all.push_back(row[v] - static_cast<float>(std::log(sum)));
      }
    });
  return all;
}

void measure(Ops& ops, const Model& model, const Documents& docs, const std::string& name) {
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  const std::vector<float> wanted = log_probs(ops, model, docs, DType::f32);
  double exact_loss = 0;
  for (const DType cache : {DType::f32, DType::bf16, DType::f8_e4m3}) {
    const std::vector<float> found = cache == DType::f32 ? wanted : log_probs(ops, model, docs, cache);
    double loss = 0, divergence = 0, squares = 0, count = 0;
    size_t row = 0;
    for (const std::vector<int32_t>& doc : docs)
      for (size_t t = 0; t < doc.size(); ++t, row += vocab) {
        if (t + 1 == doc.size()) continue;
        double kl = 0;
        for (size_t v = row; v < row + vocab; ++v)
          kl += std::exp(static_cast<double>(wanted[v])) * (static_cast<double>(wanted[v]) - found[v]);
        divergence += kl;
        squares += kl * kl;
        loss -= found[row + static_cast<size_t>(doc[t + 1])];
        ++count;
      }
    const double mean = divergence / count, perplexity = std::exp(loss / count);
    if (cache == DType::f32) exact_loss = perplexity;
    fmt::print("{:32} cache {:8} {:6.0f} tokens  mean KL {:.3e} ± {:.1e}  perplexity {:.4f} ({:+.4f} %)\n", name,
               dtype_name(cache), count, mean, 1.96 * std::sqrt(std::max(0.0, squares / count - mean * mean) / count),
               perplexity, 100 * (perplexity / exact_loss - 1));
  }
}

}  // namespace
}  // namespace qwill

int main(int argc, char** argv) {
  using namespace qwill;
  const std::string name = argc > 1 ? argv[1] : "";
  if (name.empty()) fail(ErrorKind::usage, "bench_cache_quality MODEL TEXT … or random:SIZE");
  const auto ops = make_cuda_ops({});
  if (name.starts_with("random:")) {
    const ModelConfig config = published_config(std::string_view(name).substr(7));
    const auto model = load_model(*ops, config, rope_settings(config), RandomValues(config), DTypeChoice::automatic);
    return measure(*ops, *model, {random_prompt(512, config.vocab_size, 1)}, name), 0;
  }
  const Checkpoint checkpoint = Checkpoint::open(ModelFolder::find(name, ""));
  const CheckpointTensors tensors(checkpoint);
  const auto model =
      load_model(*ops, checkpoint.config(), rope_settings(checkpoint.config()), tensors, DTypeChoice::automatic);
  const Tokenizer tokenizer = require_tokenizer(ModelFolder::find(name, ""));
  for (int i = 2; i < argc; ++i)
    measure(*ops, *model, encode_documents(tokenizer, MappedFile::open(argv[i]).text()), argv[i]);
}
