// qwill pull: a model from the hub, by its name.
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/hub.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace qwill::cli {
namespace {

struct Pull {
  std::string model;
  std::optional<std::string> revision;

  void run() const {
    std::optional<HubName> name = HubName::parse(model);
    if (!name)
      fail(ErrorKind::usage, "\"{}\" is no name of a model on the hub, as Qwen/Qwen3-0.6B is", printable(model, 200));
    if (revision) {
      if (model.find('@') != std::string::npos) fail(ErrorKind::usage, "give the revision once, with @ or --revision");
      if (!is_hub_revision(*revision))
        fail(ErrorKind::usage, "--revision: \"{}\" is no branch, tag or commit", printable(*revision, 200));
      name->revision = *revision;
    }
    const CatchInterrupt catching;
    if (const auto folder = pull(*name))
      write_stdout(*folder + "\n");
    else
      warn("stopped; what has come is kept, and the same command goes on from there");
  }
};

}  // namespace

void add_pull(CLI::App& app) {
  CLI::App* command = app.add_subcommand("pull", "Fetch a model from the hub into its local cache.");
  const auto pull = std::make_shared<Pull>();
  command->add_option("NAME", pull->model, "OWNER/NAME on the hub, or OWNER/NAME@REVISION")->required()->type_name("");
  add_text(*command, "--revision", pull->revision, "branch, tag or commit (main)");
  command->footer(
      "Prints the folder of the model. Goes on where an earlier run was stopped, checks every file's hash, and asks "
      "for\n"
      "nothing that is in the cache, whoever put it there. From then on the name serves as MODEL, without a "
      "network.\n\n"
      "HF_TOKEN, or the file \"token\" in HF_HOME, opens models that are private or gated; HF_HUB_CACHE or HF_HOME "
      "says\n"
      "where the cache is, HF_ENDPOINT which hub is asked, and https_proxy through which proxy.\n\n"
      "Examples:\n"
      "  qwill pull Qwen/Qwen3-0.6B\n"
      "  qwill pull Qwen/Qwen3-8B-Base@main && qwill generate Qwen/Qwen3-8B-Base -p 'Once upon a time'");
  command->callback([pull] { pull->run(); });
}

}  // namespace qwill::cli
