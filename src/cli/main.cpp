#include <fmt/core.h>

#include <exception>
#include <new>
#include <sstream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace qwill::cli {
namespace {

constexpr int kOutsideWorld = 1, kUsage = 2;

// Tells what is wrong with the command line, and where to read more.
[[noreturn]] void fail_usage(const CLI::App& app, const CLI::ParseError& error) {
  if (const auto commands = app.get_subcommands(); !commands.empty())
    fail(ErrorKind::usage, "{} (see qwill {} --help)", error.what(), commands.front()->get_name());
  const std::vector<std::string> unknown = app.remaining();
  if (unknown.empty()) fail(ErrorKind::usage, "no command given (see qwill --help)");
  fail(ErrorKind::usage, "there is no command \"{}\" (see qwill --help)", unknown.front());
}

int run(int argc, char** argv) {
  CLI::App app("qwill runs the Qwen3 models.", "qwill");
  app.set_version_flag("--version", "qwill " QWILL_VERSION);
  app.require_subcommand(1);
  app.footer("qwill COMMAND --help tells a command's flags, with examples.");
  add_generate(app);
  add_chat(app);
  add_batch(app);
  add_serve(app);
  add_tokenize(app);
  add_detokenize(app);
  add_render(app);
  add_logits(app);
  add_verify(app);
  add_inspect(app);
  add_bench(app);
  add_plan(app);
  add_pull(app);
  add_quantize(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() != 0) fail_usage(app, e);
    std::ostringstream text;  // of --help or --version
    app.exit(e, text, text);
    write_stdout(text.str());
  }
  return interrupt_status();
}

}  // namespace
}  // namespace qwill::cli

int main(int argc, char** argv) {
  using namespace qwill;
  cli::reserve_standard_streams();
  cli::install_signal_handlers();
  try {
    return cli::run(argc, argv);
  } catch (const cli::OutputClosed&) {
    return cli::interrupt_status();
  } catch (const Error& e) {
    cli::warn(e.what());
    return e.kind() == ErrorKind::usage ? cli::kUsage : cli::kOutsideWorld;
  } catch (const std::bad_alloc&) {
    cli::warn("out of memory");
  } catch (const std::exception& e) {  // no thread to be had, say
    cli::warn(e.what());
  }
  return cli::kOutsideWorld;
}
