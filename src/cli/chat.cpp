// qwill chat: a conversation on the terminal.
#include <fmt/core.h>

#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/sampling_flags.h"
#include "llm/parts.h"

namespace qwill::cli {
namespace {

constexpr const char* kHelp =
    "/help          this text\n"
    "/reset         forget the conversation\n"
    "/think on|off  let the model think before it answers, or not\n"
    "/exit          leave (Ctrl-D does so too)\n";

// The answer's reasoning and content, as the template wants them back.
Json assistant_message(const std::string& text) {
  Json message = Json::object();
  message.set("role", "assistant");
  const size_t end = text.find("</think>");
  if (end == std::string::npos) return message.set("content", text);
  size_t begin = text.find("<think>");
  begin = begin < end ? begin + std::string_view("<think>").size() : 0;
  const auto trimmed = [](std::string_view part) {
    const size_t first = part.find_first_not_of('\n'), last = part.find_last_not_of('\n');
    return first == std::string_view::npos ? std::string() : std::string(part.substr(first, last - first + 1));
  };
  message.set("reasoning_content", trimmed(std::string_view(text).substr(begin, end - begin)));
  return message.set("content", trimmed(std::string_view(text).substr(end + std::string_view("</think>").size())));
}

struct Chat {
  LlmOptions llm;
  SamplingFlags sampling;
  std::string system;

  void run();

 private:
  // False when the conversation is over.
  bool command(const std::string& line);
  void answer(Llm& opened, const ChatTemplate& chat_template, const std::string& question);

  std::vector<Json> messages_;
  std::optional<bool> think_;
};

bool Chat::command(const std::string& line) {
  if (line == "/exit" || line == "/quit") return false;
  if (line == "/reset") {
    messages_.clear();
    write_stdout("(forgotten)\n");
  } else if (line == "/think on" || line == "/think off") {
    think_ = line == "/think on";
    write_stdout(fmt::format("(thinking {})\n", *think_ ? "on" : "off"));
  } else {
    write_stdout(kHelp);
  }
  return true;
}

void Chat::answer(Llm& opened, const ChatTemplate& chat_template, const std::string& question) {
  Json user = Json::object();
  user.set("role", "user").set("content", question);
  std::vector<Json> messages;
  if (!system.empty()) messages.push_back(Json::object({{"role", "system"}, {"content", system}}));
  messages.insert(messages.end(), messages_.begin(), messages_.end());
  messages.push_back(user);
  Json request = Json::object();
  request.set("messages", Json::array(messages));
  if (think_) request.set("enable_thinking", *think_);

  GenerateRequest generate;
  generate.prompt = opened.parts().encode_prompt(chat_template.render_segments(request));
  generate.sampling = sampling.apply(opened.default_sampling());
  if (!sampling.max_tokens) generate.sampling.max_tokens = opened.engine().max_seq_len();
  generate.stop = sampling.stop;
  generate.ignore_eos = sampling.ignore_eos;
  // An instruction-tuned model names the end of a turn in its configuration, a base model may not.
  if (const auto turn_end = opened.parts().require_tokenizer().token_id("<|im_end|>"); turn_end && !sampling.ignore_eos)
    generate.sampling.stop_ids.push_back(*turn_end);
  const CatchInterrupt catching;
  const GenerateResult result =
      opened.generate(generate, [](const AnswerPart& part) { write_stdout(part.text); }, &interrupted());
  write_stdout("\n");
  messages_.push_back(user);
  messages_.push_back(assistant_message(result.text));
}

void Chat::run() {
  require_utf8(system, "--system");
  (void)sampling.apply({});  // flags out of range are told before anything is loaded
  fetch_if_absent(llm.model);
  const auto opened = Llm::open(llm);
  for (const std::string& warning : opened->warnings()) warn(warning);
  opened->parts().require_tokenizer();
  const ChatTemplate chat_template = opened->parts().chat_template(/*with_tools=*/false);
  const bool interactive = stdin_is_terminal();
  if (interactive) {
    set_last_words("\n");  // Ctrl-C at the prompt
    write_stdout(
        fmt::format("{} on {}. /help lists the commands.\n", opened->parts().folder.name(), opened->device_name()));
  }
  for (std::string line; !interrupted();) {
    if (interactive) write_stdout("> ");
    if (!read_stdin_line(line)) break;
    if (line.empty()) continue;
    try {
      require_utf8(line, "that line");
      if (!line.starts_with('/'))
        answer(*opened, chat_template, line);
      else if (!command(line))
        break;
    } catch (const Error& e) {
      if (!interactive) throw;
      warn(e.what());  // the conversation goes on: /reset makes room
    }
    if (interactive) forget_interrupt();  // Ctrl-C ends an answer, not the conversation
  }
  if (interactive) write_stdout("\n");
}

}  // namespace

void add_chat(CLI::App& app) {
  CLI::App* command = app.add_subcommand("chat", "Talk with the model.");
  const auto chat = std::make_shared<Chat>();
  add_llm_options(*command, chat->llm);
  command->add_option("--system", chat->system, "system prompt");
  chat->sampling.add_to(*command);
  command->footer("Example:\n  qwill chat ./Qwen3-8B --system 'Answer in one sentence.'\n\n" + std::string(kHelp));
  command->callback([chat] { chat->run(); });
}

}  // namespace qwill::cli
