// A tokenizer as a plain list of tokens and merges, whatever file it came from (tokenizer.json, GGUF).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwill {

// A token that is found in the text before anything else looks at it.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;     // left out of decoded text on request
  bool normalized = false;  // looked for after normalisation (and its content normalised) rather than before
  bool lstrip = false;      // takes the white space before it along
  bool rstrip = false;      // and after it
};

// The views must stay valid only until the Tokenizer is built.
struct Vocabulary {
  std::vector<std::string_view> tokens;  // by id, in the byte-level alphabet (text/byte_alphabet.h)
  std::vector<std::pair<std::string_view, std::string_view>> merges;  // by rank
  // In the order of their ids. Those that are not in tokens continue its numbering without a gap.
  std::vector<AddedToken> added;
  bool nfc = false;            // text is brought into normalisation form C first
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges make of it
};

}  // namespace qwill
