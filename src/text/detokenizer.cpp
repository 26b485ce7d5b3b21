#include "text/detokenizer.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace qwill {
namespace {

// Whether some bytes behind text would make it one well-formed sequence.
bool begins_sequence(std::string_view text) {
  const unsigned lead = static_cast<unsigned char>(text[0]);
  if (lead < 0xc2 || lead > 0xf4) return false;
  if (text.size() == 1) return true;
  const size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // Only the second byte has a range of its own; any continuation byte will do for the rest.
  return text.size() < length && utf8_sequence_length(std::string(text).append(length - text.size(), '\x80')) == length;
}

// Bytes at the end of text that may be the beginning of a sequence.
size_t unfinished_tail(std::string_view text) {
  for (size_t n = 1; n <= std::min<size_t>(3, text.size()); ++n) {
    const std::string_view tail = text.substr(text.size() - n);
    if ((static_cast<unsigned char>(tail[0]) & 0xc0) != 0x80) return begins_sequence(tail) ? n : 0;
  }
  return 0;
}

}  // namespace

std::string Detokenizer::push(int32_t id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  pending_ += tokenizer_->token_bytes(id);
  const size_t certain = pending_.size() - unfinished_tail(pending_);
  const std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, certain));
  pending_.erase(0, certain);
  return text;
}

std::string Detokenizer::finish() { return replace_invalid_utf8(std::exchange(pending_, {})); }

}  // namespace qwill
