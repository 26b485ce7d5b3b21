// qwill verify: the fidelity report against a reference file (docs/reference-file.md).
#include "llm/verify.h"

#include <limits>
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/hub.h"
#include "cli/options.h"
#include "cli/output.h"
#include "llm/parts.h"

namespace qwill::cli {
namespace {

struct Verify {
  LlmOptions llm;
  std::string against;
  std::optional<double> max_kl, layer_tolerance;
  bool json = false;

  void run() {
    const SafetensorsFile reference = SafetensorsFile::parse(MappedFile::open(against));
    fetch_if_absent(llm.model);
    const auto opened = Llm::open(llm);
    for (const std::string& warning : opened->warnings()) warn(warning);
    // Rounding leaves this much; anything wrong leaves far more.
    const double tolerance = layer_tolerance.value_or(llm.dtype == DTypeChoice::f32 ? 1e-4 : 5e-2);
    VerifyReport report;
    opened->engine().call(
        [&](EngineCore& core) { report = verify(core, opened->parts().config(), reference, tolerance); });
    write_stdout(json ? report.to_json().dump() + "\n" : report.to_text());
    const double limit = max_kl.value_or(report.reference_kl);
    if (report.mean_kl > limit)
      fail_invalid("mean KL {:.3e} is over the limit of {:.3e}{}", report.mean_kl, limit,
                   max_kl ? "" : " (the reference's own in bf16; --max-kl sets another)");
  }
};

}  // namespace

void add_verify(CLI::App& app) {
  CLI::App* command = app.add_subcommand("verify", "Compare with what the reference implementation computed.");
  const auto verify = std::make_shared<Verify>();
  add_llm_options(*command, verify->llm);
  command->add_option("--against", verify->against, "reference file, made by tools/make_reference.py")
      ->required()
      ->type_name("FILE");
  constexpr double kAny = std::numeric_limits<double>::max();
  add_number(*command, "--max-kl", verify->max_kl, 0.0, kAny,
             "mean KL in nats above which the exit status is 1 (default: the reference's own in bf16)")
      ->type_name("NATS");
  add_number(*command, "--layer-tolerance", verify->layer_tolerance, 0.0, kAny,
             "relative error above which a layer counts as divergent (0.05; 1e-4 with --dtype f32)")
      ->type_name("E");
  add_output_format(*command, verify->json);
  command->footer("Example:\n  qwill verify ./Qwen3-8B-Base --against ref-8b.safetensors");
  command->callback([verify] { verify->run(); });
}

}  // namespace qwill::cli
