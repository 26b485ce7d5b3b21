// qwill logits: the raw logits of a prompt's positions, as a NumPy file.
#include <algorithm>
#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/hub.h"
#include "cli/npy.h"
#include "cli/options.h"
#include "cli/output.h"
#include "engine/engine_core.h"
#include "qwill/llm.h"

namespace qwill::cli {
namespace {

struct Logits {
  LlmOptions llm;
  std::string token_ids, out;
  std::optional<int64_t> last;

  void run() {
    const std::vector<int32_t> ids = parse_token_ids(token_ids);
    if (llm.max_seq_len == 0) llm.max_seq_len = static_cast<int64_t>(ids.size()) + 1;
    fetch_if_absent(llm.model);
    const auto opened = Llm::open(llm);
    for (const std::string& warning : opened->warnings()) warn(warning);
    const auto total = static_cast<int64_t>(ids.size());
    const int64_t rows = std::min(total, last.value_or(total)), first_row = total - rows;
    std::optional<NpyWriter> file;
    const auto write = [&](int64_t first, const Tensor& logits) {
      if (!file) file.emplace(out, rows, logits.cols);
      const int64_t skip = std::clamp<int64_t>(first_row - first, 0, logits.rows);
      file->write({logits.row<const float>(skip), static_cast<size_t>((logits.rows - skip) * logits.cols)});
    };
    opened->engine().call([&](EngineCore& core) { core.score(ids, write); });
    file->close();
  }
};

}  // namespace

void add_logits(CLI::App& app) {
  CLI::App* command = app.add_subcommand("logits", "Write the raw logits of a prompt's positions.");
  const auto logits = std::make_shared<Logits>();
  add_llm_options(*command, logits->llm);
  command->add_option("--token-ids", logits->token_ids, "the prompt: 1,2,3 or @FILE")->required()->type_name("IDS");
  add_number(*command, "--last", logits->last, int64_t{1}, int64_t{1} << 40, "only the last K positions (default: all)")
      ->type_name("K");
  command->add_option("--out", logits->out, "NumPy file: float32 [K, vocab_size]")->required()->type_name("F.npy");
  command->footer("Example:\n  qwill logits ./Qwen3-8B-Base --token-ids 785,6722,315 --last 1 --out logits.npy");
  command->callback([logits] { logits->run(); });
}

}  // namespace qwill::cli
