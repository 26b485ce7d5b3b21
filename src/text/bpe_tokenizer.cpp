#include "text/bpe_tokenizer.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_alphabet.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace qwill {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 31;  // places in a piece fit 32 bits

}  // namespace

Tokenizer::Tokenizer(const Vocabulary& vocabulary) : bpe_(vocabulary), nfc_(vocabulary.nfc), added_(vocabulary.added) {
  std::vector<AddedToken> before, after;
  std::unordered_set<std::string> contents;
  for (size_t i = 0; i < added_.size(); ++i) {
    const AddedToken& token = added_[i];
    with_context(fmt::format("added_tokens[{}]", i), [&] {
      if (token.content.empty()) fail_invalid("content: empty");
      if (find_invalid_utf8(token.content) != std::string_view::npos) fail_invalid("content: not UTF-8");
      // The reference numbers added tokens itself, whatever the file says; a file that says otherwise is damaged.
      const int32_t expected = bpe_.token_id(token.content).value_or(size());
      if (token.id != expected)
        fail_invalid("id: expected {} for \"{}\", found {}", expected, printable(token.content), token.id);
      AddedToken sought = token;
      if (nfc_ && token.normalized) sought.content = nfc(token.content);
      if (!contents.insert(token.content).second ||
          (sought.content != token.content && !contents.insert(sought.content).second))
        fail_invalid("content: \"{}\" is given twice", printable(token.content));
      added_by_id_.emplace_back(token.id, i);
      // The reference keeps the normalised content of a normalised token, and decodes to that.
      if (token.id == size()) {
        std::string& bytes = added_bytes_.emplace_back();
        if (!append_token_bytes(bytes, sought.content)) bytes = sought.content;
      } else if (sought.content != token.content) {
        fail_unsupported("content: \"{}\" is in the vocabulary and changes when normalised", printable(token.content));
      }
      (token.normalized ? after : before).push_back(std::move(sought));
    });
  }
  std::sort(added_by_id_.begin(), added_by_id_.end());
  before_normalization_ = AddedTokenMatcher(std::move(before));
  after_normalization_ = AddedTokenMatcher(std::move(after));
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json) {
  const TokenizerFile file = parse_tokenizer_json(tokenizer_json);
  try {
    return Tokenizer(file.vocabulary);
  } catch (const Error& e) {
    const std::string_view message = e.what();
    if (message.starts_with("vocab") || message.starts_with("merges"))
      throw Error(e.kind(), "model." + std::string(message));
    throw;
  }
}

namespace {

void check_text(std::string_view text) {
  if (text.size() > kMaxTextBytes) fail_invalid("a text of {} bytes: expected at most {}", text.size(), kMaxTextBytes);
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
    fail_invalid("invalid UTF-8 at byte {}", bad);
}

}  // namespace

std::vector<int32_t> Tokenizer::encode(std::string_view text, Special special) const {
  std::vector<int32_t> ids;
  encode_to(ids, text, special);
  return ids;
}

void Tokenizer::encode_to(std::vector<int32_t>& ids, std::string_view text, Special special) const {
  check_text(text);
  ids.reserve(ids.size() + text.size() / 4 + 8);
  if (special == Special::as_text) return encode_plain(ids, text, special);
  before_normalization_.split(
      text, [&](std::string_view part) { encode_plain(ids, part, special); }, [&](int32_t id) { ids.push_back(id); });
}

std::vector<int32_t> Tokenizer::encode_segments(std::span<const Segment> segments) const {
  std::vector<int32_t> ids;
  std::string between;  // two added tokens
  Special special = Special::parse;
  const auto flush = [&] {
    if (!between.empty()) encode_plain(ids, between, special);
    between.clear();
    special = Special::parse;
  };
  const auto plain = [&](std::string_view part) { between += part; };
  const auto added = [&](int32_t id) {
    flush();
    ids.push_back(id);
  };
  for (const Segment& segment : segments) {
    check_text(segment.text);
    if (segment.special == Special::parse) {
      before_normalization_.split(segment.text, plain, added);
    } else if (!segment.text.empty()) {
      plain(segment.text);
      special = Special::as_text;
    }
  }
  flush();
  return ids;
}

// Text without added tokens but those that are looked for behind normalisation.
void Tokenizer::encode_plain(std::vector<int32_t>& ids, std::string_view text, Special special) const {
  const auto encode_normalized = [&](std::string_view part) {
    if (special == Special::as_text) return encode_pieces(ids, part);
    after_normalization_.split(
        part, [&](std::string_view plain) { encode_pieces(ids, plain); }, [&](int32_t id) { ids.push_back(id); });
  };
  if (nfc_ && nfc_quick_check(text) != std::string_view::npos)
    encode_normalized(nfc(text));
  else
    encode_normalized(text);
}

void Tokenizer::encode_pieces(std::vector<int32_t>& ids, std::string_view text) const {
  const char* const end = text.data() + text.size();
  RecentPieces recent(text);
  for (const char* p = text.data(); p < end;) {
    const char* const stop = piece_end(p, end);
    bpe_.encode(ids, {p, static_cast<size_t>(stop - p)}, end, recent);
    p = stop;
  }
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids)
    if (!skip_special || !is_special(id)) bytes += token_bytes(id);
  if (find_invalid_utf8(bytes) != std::string_view::npos) bytes = replace_invalid_utf8(bytes);
  return bytes;
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= size()) return {};
  return id < bpe_.size() ? bpe_.token_bytes(id) : added_bytes_[id - bpe_.size()];
}

std::optional<int32_t> Tokenizer::token_id(std::string_view added_token_content) const {
  for (const AddedToken& token : added_)
    if (token.content == added_token_content) return token.id;
  return std::nullopt;
}

const AddedToken* Tokenizer::find_added(int32_t id) const {
  const auto found = std::lower_bound(added_by_id_.begin(), added_by_id_.end(), std::pair(id, size_t{0}));
  return found != added_by_id_.end() && found->first == id ? &added_[found->second] : nullptr;
}

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* token = find_added(id);
  return token && token->special;
}

}  // namespace qwill
