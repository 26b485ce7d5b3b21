// tokenizer.json, the hub's format of a tokenizer: the one pipeline that the Qwen family uses, everything else refused.
#pragma once

#include <string>
#include <string_view>

#include "text/vocabulary.h"

namespace qwill {

// A file's content, and the text that its views look into.
struct TokenizerFile {
  std::string text;  // as parsed: unescaped in place
  Vocabulary vocabulary;
};

// Throws Error(invalid) for a malformed file and Error(unsupported) for a pipeline other than
// [NFC] → the Qwen pattern → byte level → BPE → byte level; both name the field: "model.merges[17]: …".
// Truncation, padding and the post-processor are not read: they belong to calls that this project does not make.
TokenizerFile parse_tokenizer_json(std::string_view json);

}  // namespace qwill
