// Text to token ids and back: added tokens, normalisation form C, the Qwen pre-tokenizer, byte-level BPE.
// Equal to the reference (Hugging Face `tokenizers`, pinned in tools/requirements.txt) on every input.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/vocabulary.h"

namespace qwill {

// Immutable after construction; one Tokenizer may serve many threads.
class Tokenizer {
 public:
  enum class Special {
    parse,    // added tokens, special or not, are recognised in the text
    as_text,  // they are text like any other
  };

  // Throws Error(invalid or unsupported) that names the field: "vocab[\"abc\"]: …".
  explicit Tokenizer(const Vocabulary& vocabulary);
  // The same from a tokenizer.json: "model.merges[17]: …".
  static Tokenizer from_json(std::string_view tokenizer_json);

  // The ids of text, with nothing added before or behind. Throws Error(invalid) "invalid UTF-8 at byte N".
  std::vector<int32_t> encode(std::string_view text, Special special) const;
  // The same, appended to ids: segments of different modes one after another, each as if it stood alone.
  void encode_to(std::vector<int32_t>& ids, std::string_view text, Special special) const;
  // The ids of one text that comes in segments: added tokens are recognised in those that are to be parsed, and what
  // lies between two of them is read as one text, whatever segments it comes from.
  struct Segment {
    std::string_view text;
    Special special;
  };
  std::vector<int32_t> encode_segments(std::span<const Segment> segments) const;

  // The text of ids: bytes that are no UTF-8 become U+FFFD, one for each maximal subpart of a sequence; ids that name
  // no token (padding rows of the embedding, negative ones) become nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;
  // The bytes that an id adds to the text, which need not be UTF-8; empty if it names no token.
  std::string_view token_bytes(int32_t id) const;

  // One past the last id that names a token, added tokens included.
  int32_t size() const { return bpe_.size() + static_cast<int32_t>(added_bytes_.size()); }
  // The added token with this content.
  std::optional<int32_t> token_id(std::string_view added_token_content) const;
  // Whether it is an added token that decode leaves out on request.
  bool is_special(int32_t id) const;
  bool is_added(int32_t id) const { return find_added(id) != nullptr; }
  // In the order of the file.
  const std::vector<AddedToken>& added_tokens() const { return added_; }

 private:
  const AddedToken* find_added(int32_t id) const;
  void encode_plain(std::vector<int32_t>& ids, std::string_view text, Special special) const;
  void encode_pieces(std::vector<int32_t>& ids, std::string_view text) const;

  Bpe bpe_;
  bool nfc_;
  std::vector<AddedToken> added_;
  std::vector<std::string> added_bytes_;                 // of ids from bpe_.size() on
  std::vector<std::pair<int32_t, size_t>> added_by_id_;  // sorted; index in added_
  AddedTokenMatcher before_normalization_, after_normalization_;
};

}  // namespace qwill
