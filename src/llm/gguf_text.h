// The tokenizer and the chat template that a GGUF file carries in its metadata.
#pragma once

#include <optional>
#include <string>

#include "text/bpe_tokenizer.h"
#include "weights/gguf.h"

namespace qwill {

// The same tokenizer as the hub's tokenizer.json of that vocabulary, normalisation form C included, of which the format
// says nothing. Nothing if the file has no tokens. Throws Error naming file and key: invalid for lists that do not fit
// each other, unsupported for another model or pre-tokenizer than Qwen's.
std::optional<Tokenizer> read_gguf_tokenizer(const GgufFile& file);

// The text of the template, nothing if there is none.
std::optional<std::string> read_gguf_chat_template(const GgufFile& file, bool with_tools);

}  // namespace qwill
