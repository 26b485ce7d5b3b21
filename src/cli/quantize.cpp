// qwill quantize: a model's weights in eight or four bits, ahead of time.
#include "llm/quantize.h"

#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace qwill::cli {
namespace {

struct Quantize {
  std::string model, out;
  QuantizeOptions options;

  void run() {
    const ModelFolder folder = find_model(model);
    const CatchInterrupt catching;
    options.cancel = &interrupted();
    options.progress = byte_progress("quantising");
    if (quantize_model(folder, out, options))
      write_stdout(out + "\n");
    else
      warn("stopped; nothing was written");
  }
};

}  // namespace

void add_quantize(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("quantize", "Write a model with its weights in eight or four bits, for the CPU.");
  const auto quantize = std::make_shared<Quantize>();
  add_model(*command, quantize->model);
  command->add_option("-o,--output", quantize->out, "the folder to make")->required()->type_name("DIR");
  add_choice<DTypeChoice>(*command, "--dtype", quantize->options.dtype,
                          {{"int8", DTypeChoice::int8}, {"int4", DTypeChoice::int4}}, "bits of the weights")
      ->required();
  add_number<int, int>(*command, "--threads", quantize->options.num_threads, 1, 1024, "threads (one per core)");
  command->footer(
      "The folder can be used wherever MODEL is asked for, with --device cpu: its weights are mapped as they lie "
      "there,\n"
      "so that it starts at once, and they are the same that --dtype would make of the original while loading.\n"
      "Prints the folder's name. It appears when it is whole.\n\n"
      "Examples:\n"
      "  qwill quantize Qwen/Qwen3-8B --dtype int4 -o ./Qwen3-8B-int4\n"
      "  qwill generate ./Qwen3-8B-int4 -p 'Once upon a time'");
  command->callback([quantize] { quantize->run(); });
}

}  // namespace qwill::cli
