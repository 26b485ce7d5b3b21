// What a model's folder or GGUF file says about text: its tokenizer and its chat template.
#pragma once

#include <optional>
#include <string>

#include "text/bpe_tokenizer.h"
#include "text/chat_template.h"
#include "weights/model_folder.h"

namespace qwill {

// The tokenizer of a folder, nothing if it has none.
std::optional<Tokenizer> open_tokenizer(const ModelFolder& folder);
// The same; throws Error(invalid) if it has none.
Tokenizer require_tokenizer(const ModelFolder& folder);
// Whether it has one, of whatever kind.
bool has_tokenizer(const ModelFolder& folder);
// The file that has it, for messages: "tokenizer.json".
std::string_view tokenizer_place(const ModelFolder& folder);

// The text of a folder's template, nothing if it has none.
std::optional<std::string> read_chat_template(const ModelFolder& folder, bool with_tools);

// The template of a folder, or the one named. Throws Error(unsupported) if there is neither.
ChatTemplate open_chat_template(const ModelFolder& folder, const std::string& name, bool with_tools);

}  // namespace qwill
