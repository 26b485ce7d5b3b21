#include <fmt/core.h>

#include <new>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace qwill::cli {
namespace {

constexpr int kOutsideWorld = 1, kUsage = 2;

int run(int argc, char** argv) {
  CLI::App app("qwill runs the Qwen3 models.", "qwill");
  app.set_version_flag("--version", "qwill " QWILL_VERSION);
  app.require_subcommand(1);
  app.footer("qwill COMMAND --help tells a command's flags, with examples.");
  add_generate(app);
  add_chat(app);
  add_tokenize(app);
  add_detokenize(app);
  add_render(app);
  add_logits(app);
  add_verify(app);
  add_inspect(app);
  add_bench(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    fmt::print(stderr, "qwill: {} (see qwill --help)\n", e.what());
    return kUsage;
  }
  return interrupt_status();
}

}  // namespace
}  // namespace qwill::cli

int main(int argc, char** argv) {
  using namespace qwill;
  cli::install_signal_handlers();
  try {
    return cli::run(argc, argv);
  } catch (const cli::OutputClosed&) {
    return 0;
  } catch (const Error& e) {
    if (const int status = cli::interrupt_status()) return status;
    fmt::print(stderr, "qwill: {}\n", e.what());
    return e.kind() == ErrorKind::usage ? cli::kUsage : cli::kOutsideWorld;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "qwill: out of memory\n");
    return cli::kOutsideWorld;
  }
}
