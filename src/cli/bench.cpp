// qwill bench: speed, against the read bandwidth measured in the same run.
#include "llm/bench.h"

#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/hub.h"
#include "cli/options.h"
#include "cli/output.h"

namespace qwill::cli {

void add_bench(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "Measure prefill and decode against the machine's bandwidth.");
  struct Bench {
    BenchOptions options;
    bool json = false;
  };
  const auto bench = std::make_shared<Bench>();
  BenchOptions& options = bench->options;
  add_llm_options(*command, options.llm);
  command->get_option("MODEL")->description(
      "folder, GGUF file, hub name, or random:0.6b … random:235b-a22b for random weights");
  constexpr int64_t kLongest = int64_t{1} << 24;
  add_number(*command, "--prompt-len", options.prompt_len, int64_t{1}, kLongest, "tokens of the timed prefill (512)");
  add_number(*command, "--repeats", options.repeats, 1, 1000, "timed prefills, whose median counts (5)");
  add_number(*command, "--gen-len", options.gen_len, int64_t{1}, kLongest, "timed decode steps (128)");
  add_number(*command, "--context", options.context, int64_t{1}, kLongest,
             "tokens before the first timed step (as --prompt-len)");
  add_number(*command, "--batch", options.batch, int64_t{1}, int64_t{4096}, "streams that decode together (1)");
  add_output_format(*command, bench->json);
  command->footer("Example:\n  qwill bench random:0.6b --threads 2 --output json");
  command->callback([bench] {
    fetch_if_absent(bench->options.llm.model);
    const BenchReport report = run_bench(bench->options);
    write_stdout(bench->json ? report.to_json().dump() + "\n" : report.to_text());
  });
}

}  // namespace qwill::cli
