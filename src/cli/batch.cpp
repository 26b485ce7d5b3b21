// qwill batch: answers a file of requests in OpenAI's batch format.
#include <fmt/format.h>

#include <chrono>
#include <limits>
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "llm/parts.h"
#include "server/batch_run.h"

namespace qwill::cli {
namespace {

struct Batch {
  LlmOptions llm;
  std::string input, output;

  void run();
};

void Batch::run() {
  for (const std::string& path : {input, output})
    if (path == "-") fail(ErrorKind::usage, "a batch needs files, not \"-\": both are read again when it goes on");
  BatchInput requests(input);
  BatchOutput results(output, requests);
  requests.start();
  const int64_t total = requests.num_requests(), found = results.num_found();
  BatchCounts counts;
  double seconds = 0;
  EngineStats stats;
  if (found < total) {
    fetch_if_absent(llm.model);
    const auto opened = Llm::open(llm);
    for (const std::string& warning : opened->warnings()) warn(warning);
    const CatchInterrupt catching;
    const auto start = std::chrono::steady_clock::now();
    BatchProgress progress(found, total);
    counts = run_batch(*opened, opened->parts().folder.name(), requests, results, interrupted(),
                       [&](const BatchCounts& so_far) { progress.show(so_far.answered, so_far.output_tokens); });
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    stats = opened->engine().stats();
  }
  std::string summary = fmt::format("{} requests", total);
  if (found + counts.answered < total) summary += fmt::format(", {} answered", found + counts.answered);
  if (found > 0) summary += fmt::format(", {} of them before", found);
  summary += fmt::format(", {} failed; {} tokens in {:.1f} s", results.num_failed(), counts.output_tokens, seconds);
  if (stats.prefix_hit_tokens > 0)
    summary +=
        fmt::format(", {} of {} prompt tokens from the prefix cache", stats.prefix_hit_tokens, stats.prompt_tokens);
  if (stats.preempted > 0) summary += fmt::format(", {} sequences begun again for want of memory", stats.preempted);
  if (found + counts.answered < total) return warn(summary + "; the same command goes on from here");
  if (results.num_failed() > 0) fail_invalid("{}; {} says why they failed", summary, output);
  warn(summary);
}

}  // namespace

void add_batch(CLI::App& app) {
  CLI::App* command = app.add_subcommand("batch", "Answer a file of requests (OpenAI's batch format).");
  const auto batch = std::make_shared<Batch>();
  command->add_option("-i,--input", batch->input, "requests, one JSON object a line")->required()->type_name("FILE");
  command->add_option("-o,--output", batch->output, "results, one JSON object a line, in the order they finish")
      ->required()
      ->type_name("FILE");
  add_llm_options(*command, batch->llm);
  add_batch_options(*command, batch->llm);
  batch->llm.mixed_chunk_size = std::numeric_limits<int64_t>::max();  // nobody waits for the next token
  command->footer(
      "A request is {\"custom_id\": …, \"method\": \"POST\", \"url\": …, \"body\": …}; url is /v1/chat/completions or\n"
      "/v1/completions. Stopped at any moment, the same command goes on: what the output holds is kept and not asked\n"
      "again, failed requests included (take their lines out to try them again).\n"
      "A result does not depend on what else is in the file. A body without \"seed\" gets the 64-bit FNV-1a hash of "
      "its\n"
      "custom_id, so that it is answered the same way in every run.\n"
      "Exit status: 0 if every request was answered, 1 if some failed.\n\n"
      "Example:\n"
      "  qwill batch -i requests.jsonl -o results.jsonl ./Qwen3-8B");
  command->callback([batch] { batch->run(); });
}

}  // namespace qwill::cli
