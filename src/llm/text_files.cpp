#include "llm/text_files.h"

#include "base/error.h"
#include "llm/gguf_text.h"

namespace qwill {

std::optional<Tokenizer> open_tokenizer(const ModelFolder& folder) {
  if (!folder.gguf().empty()) return read_gguf_tokenizer(open_first_gguf(folder.gguf()));
  const std::optional<MappedFile> file = folder.open_if_present("tokenizer.json");
  if (!file) return std::nullopt;
  return with_context(file->name(), [&] { return Tokenizer::from_json(file->text()); });
}

bool has_tokenizer(const ModelFolder& folder) {
  if (folder.gguf().empty()) return folder.open_if_present("tokenizer.json").has_value();
  return open_first_gguf(folder.gguf()).find_value(tokenizer_place(folder)) != nullptr;
}

std::string_view tokenizer_place(const ModelFolder& folder) {
  return folder.gguf().empty() ? "tokenizer.json" : "tokenizer.ggml.tokens";
}

Tokenizer require_tokenizer(const ModelFolder& folder) {
  std::optional<Tokenizer> tokenizer = open_tokenizer(folder);
  if (!tokenizer)
    fail_invalid("{}: no {}: not a model folder, or an unfinished download", folder.name(), tokenizer_place(folder));
  return std::move(*tokenizer);
}

std::optional<std::string> read_chat_template(const ModelFolder& folder, bool with_tools) {
  if (!folder.gguf().empty()) return read_gguf_chat_template(open_first_gguf(folder.gguf()), with_tools);
  std::optional<std::string> jinja;
  if (const auto file = folder.open_if_present("chat_template.jinja")) jinja = std::string(file->text());
  const auto config_file = folder.open_if_present("tokenizer_config.json");
  const Json config = config_file ? folder.open_json("tokenizer_config.json") : Json::object();
  return with_context(folder.name_of("tokenizer_config.json"),
                      [&] { return chat_template_text(jinja, config, with_tools); });
}

ChatTemplate open_chat_template(const ModelFolder& folder, const std::string& name, bool with_tools) {
  if (!name.empty()) return ChatTemplate::named(name);
  const std::optional<std::string> text = read_chat_template(folder, with_tools);
  return with_context(folder.name(), [&] {
    if (!text)
      fail_unsupported("no chat template: name one with --chat-template NAME (known: {})", ChatTemplate::known_names());
    return ChatTemplate::recognise(*text);
  });
}

}  // namespace qwill
