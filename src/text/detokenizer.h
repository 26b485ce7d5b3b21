// Decoding one token at a time: text comes out as soon as it is certain, and never half a UTF-8 sequence.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/bpe_tokenizer.h"

namespace qwill {

// What push and finish return, joined, is tokenizer.decode of all ids.
class Detokenizer {
 public:
  enum class Special { keep, skip };  // special tokens in the text

  // tokenizer must outlive it.
  explicit Detokenizer(const Tokenizer& tokenizer, Special special = Special::keep)
      : tokenizer_(&tokenizer), skip_special_(special == Special::skip) {}

  // The text that became certain with this token; a sequence that may still be completed is held back.
  std::string push(int32_t id);
  // The end of the ids: what was held back, as U+FFFD. The next push begins a new text.
  std::string finish();
  // Bytes held back: 0 … 3, the beginning of a UTF-8 sequence.
  std::string_view pending() const { return pending_; }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace qwill
