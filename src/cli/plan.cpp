// qwill plan: where memory goes, before anything runs.
#include <memory>

#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/options.h"
#include "cli/output.h"
#include "llm/memory_plan.h"

namespace qwill::cli {

void add_plan(CLI::App& app) {
  CLI::App* command = app.add_subcommand("plan", "Print where memory goes, byte by byte, before anything runs.");
  struct Plan {
    LlmOptions options;
    bool json = false;
  };
  const auto plan = std::make_shared<Plan>();
  add_llm_options(*command, plan->options);
  command->get_option("MODEL")->description(
      "folder, GGUF file, hub name, or random:0.6b … random:235b-a22b for a published size");
  add_batch_options(*command, plan->options);
  add_output_format(*command, plan->json);
  command->footer(
      "The engine obeys the same plan. With --device cuda and --memory no card is needed: an H100 is assumed.\n\n"
      "  qwill plan random:8b --device cuda --memory 80GB\n"
      "  qwill plan ./Qwen3-8B-Base --max-seq-len 8192 --max-seqs 64 --output json");
  command->callback([plan] {
    fetch_if_absent(plan->options.model);
    const MemoryPlan planned = plan_memory(plan->options);
    write_stdout(plan->json ? planned.to_json().dump() + "\n" : planned.to_text());
  });
}

}  // namespace qwill::cli
