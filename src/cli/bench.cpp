// qwill bench: speed, against the read bandwidth measured in the same run.
#include "llm/bench.h"

#include <memory>

#include "cli/commands.h"
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
  command->get_option("MODEL")->description("folder, hub name, or random:0.6b … random:235b-a22b for random weights");
  const auto count = CLI::Range(int64_t{1}, int64_t{1} << 24).description("");
  command->add_option("--prompt-len", options.prompt_len, "tokens of the timed prefill (512)")->check(count)->type_name("N");
  command->add_option("--gen-len", options.gen_len, "timed decode steps (128)")->check(count)->type_name("N");
  command->add_option("--context", options.context, "tokens before the first timed step (as --prompt-len)")->check(count)->type_name("N");
  command->add_option("--batch", options.batch, "streams that decode together (1)")
      ->check(CLI::Range(1, 4096).description(""))
      ->type_name("N");
  add_output_format(*command, bench->json);
  command->footer("Example:\n  qwill bench random:0.6b --threads 2 --output json");
  command->callback([bench] {
    const BenchReport report = run_bench(bench->options);
    write_stdout(bench->json ? report.to_json().dump() + "\n" : report.to_text());
  });
}

}  // namespace qwill::cli
