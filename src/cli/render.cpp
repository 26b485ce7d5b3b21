// qwill render: a chat in, the prompt that its model would see out.
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "llm/text_files.h"

namespace qwill::cli {
namespace {

struct Render {
  std::string model;
  std::string chat_template;

  void run() const {
    if (!chat_template.empty()) (void)ChatTemplate::named(chat_template);  // a wrong name is told before stdin is read
    const std::string text = read_stdin();
    const Json request = with_context("stdin", [&] { return Json::parse(text); });
    const ChatTemplate chat =
        open_chat_template(find_model(model), chat_template, request.find_value("tools") != nullptr);
    write_stdout(with_context("stdin", [&] { return chat.render(request); }));
  }
};

}  // namespace

void add_render(CLI::App& app) {
  auto render = std::make_shared<Render>();
  CLI::App* command =
      app.add_subcommand("render", "Read a chat as JSON, print the prompt that the chat template makes of it.");
  add_model(*command, render->model);
  command->add_option("--chat-template", render->chat_template,
                      "the template to use, for a model whose own is unknown: " + ChatTemplate::known_names());
  command->footer(
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]} with \"tools\", \"add_generation_prompt\" (true) "
      "and\n"
      "\"enable_thinking\" beside them where wanted; null means absent. Nothing is added to the prompt.\n\n"
      "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}' | qwill render | qwill generate");
  command->callback([render] { render->run(); });
}

}  // namespace qwill::cli
