// qwill tokenize and qwill detokenize: text to token ids and back.
#include <charconv>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "llm/text_files.h"

namespace qwill::cli {
namespace {

constexpr size_t kOutputBytes = size_t{1} << 16;  // gathered before a write

std::string joined(const std::vector<int32_t>& ids, char separator) {
  std::string out;
  for (const int32_t id : ids) {
    char digits[16];
    if (!out.empty()) out += separator;
    out.append(digits, std::to_chars(digits, digits + sizeof digits, id).ptr);
  }
  return out;
}

const Json& member(const Json& object, std::string_view name) {
  const Json* found = object.find_value(name);
  if (!found) fail_invalid("expected an object with \"{}\"", name);
  return *found;
}

// Prints what answer makes of each line of stdin, a JSON text; blank lines are passed over. Errors name the line.
// A reader that sends one line and waits gets its answer; otherwise answers are gathered.
template <typename Answer>
void for_each_json_line(Answer&& answer) {
  std::string line, out;
  for (size_t number = 1; read_stdin_line(line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      out += with_context(fmt::format("stdin: line {}", number), [&] { return answer(Json::parse(line)); });
    } catch (const Error&) {
      write_stdout(out);  // the lines before it were good
      throw;
    }
    out += '\n';
    if (out.size() >= kOutputBytes || !stdin_has_line()) {
      write_stdout(out);
      out.clear();
    }
  }
  write_stdout(out);
}

struct Tokenize {
  std::string model;
  bool jsonl = false;
  bool plain = false;

  void run() const {
    const Tokenizer tokenizer = require_tokenizer(find_model(model));
    const auto special = plain ? Tokenizer::Special::as_text : Tokenizer::Special::parse;
    if (!jsonl) {
      const std::string text = read_stdin();
      const auto ids = with_context("stdin", [&] { return tokenizer.encode(text, special); });
      return write_stdout(joined(ids, ' ') + "\n");
    }
    for_each_json_line([&](const Json& line) {
      const Json& text = member(line, "text");
      return with_context(
          "text", [&] { return "{\"token_ids\":[" + joined(tokenizer.encode(text.as_string(), special), ',') + "]}"; });
    });
  }
};

struct Detokenize {
  std::string model;
  bool jsonl = false;

  void run() const {
    const Tokenizer tokenizer = require_tokenizer(find_model(model));
    if (!jsonl) {
      const std::string text = read_stdin();
      return write_stdout(tokenizer.decode(with_context("stdin", [&] { return parse_ids(text, ErrorKind::invalid); })));
    }
    for_each_json_line([&](const Json& line) {
      const Json& items = member(line, "token_ids");
      std::vector<int32_t> ids;
      with_context("token_ids", [&] {
        for (const Json& item : items.as_array()) {
          const int64_t id = item.as_integer();
          if (id != static_cast<int32_t>(id)) fail_invalid("{} is no token id", id);
          ids.push_back(static_cast<int32_t>(id));
        }
      });
      return "{\"text\":" + json_quote(tokenizer.decode(ids)) + "}";
    });
  }
};

}  // namespace

void add_tokenize(CLI::App& app) {
  auto options = std::make_shared<Tokenize>();
  CLI::App* command = app.add_subcommand("tokenize", "Read text, print its token ids.");
  add_model(*command, options->model);
  command->add_flag("--jsonl", options->jsonl,
                    "each line of stdin is {\"text\": …}, each line of stdout {\"token_ids\": […]}");
  command->add_flag("--plain", options->plain, "take special tokens in the text as text");
  command->footer(
      "stdin is taken as it is, its last newline included; the ids come on one line, separated by spaces.\n\n"
      "  printf 'Hello <|im_end|>' | qwill tokenize Qwen/Qwen3-8B-Base\n"
      "  printf '{\"text\": \"Hello\"}\\n' | qwill tokenize --jsonl");
  command->callback([options] { options->run(); });
}

void add_detokenize(CLI::App& app) {
  auto options = std::make_shared<Detokenize>();
  CLI::App* command = app.add_subcommand("detokenize", "Read token ids, print their text.");
  add_model(*command, options->model);
  command->add_flag("--jsonl", options->jsonl,
                    "each line of stdin is {\"token_ids\": […]}, each line of stdout {\"text\": …}");
  command->footer(
      "Ids are separated by white space or commas. Special tokens are kept, bytes that are no UTF-8 become U+FFFD,\n"
      "ids that name no token become nothing, and no newline is added.\n\n"
      "  printf Hello | qwill tokenize | qwill detokenize");
  command->callback([options] { options->run(); });
}

}  // namespace qwill::cli
