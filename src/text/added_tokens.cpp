#include "text/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "base/utf8.h"
#include "text/unicode.h"

namespace qwill {
namespace {

unsigned byte_at(std::string_view text, size_t i) { return static_cast<unsigned char>(text[i]); }

size_t space_before(std::string_view text, size_t end, size_t floor) {
  while (end > floor) {
    size_t start = end - 1;
    while (start > floor && (byte_at(text, start) & 0xc0) == 0x80) --start;
    size_t pos = start;
    if (char_class(next_code_point(text, pos)) != CharClass::space) break;
    end = start;
  }
  return end;
}

size_t space_after(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t pos = begin;
    if (char_class(next_code_point(text, pos)) != CharClass::space) break;
    begin = pos;
  }
  return begin;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(), [](const auto& a, const auto& b) { return a.content < b.content; });
  first_byte_.fill(0);
  for (const AddedToken& token : tokens_) ++first_byte_[byte_at(token.content, 0) + 1];
  for (size_t b = 0; b < 256; ++b) {
    if (!tokens_.empty() && first_byte_[b + 1] == tokens_.size()) only_byte_ = static_cast<int>(b);
    first_byte_[b + 1] += first_byte_[b];
  }
}

const AddedToken* AddedTokenMatcher::longest_at(std::string_view text) const {
  const AddedToken* best = nullptr;
  auto low = tokens_.begin() + first_byte_[byte_at(text, 0)];
  auto high = tokens_.begin() + first_byte_[byte_at(text, 0) + 1];
  // low … high agree with text in the first depth bytes; the shortest of them stands first.
  for (size_t depth = 1; low != high; ++depth) {
    if (low->content.size() == depth) best = &*low++;
    if (depth == text.size()) break;
    const unsigned byte = byte_at(text, depth);
    low = std::partition_point(low, high, [&](const AddedToken& t) { return byte_at(t.content, depth) < byte; });
    high = std::partition_point(low, high, [&](const AddedToken& t) { return byte_at(t.content, depth) == byte; });
  }
  return best;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::find(std::string_view text, size_t& from,
                                                                size_t done) const {
  if (tokens_.empty()) return std::nullopt;
  for (size_t i = from; i < text.size(); ++i) {
    if (only_byte_ >= 0) {
      const void* found = std::memchr(text.data() + i, only_byte_, text.size() - i);
      if (!found) return std::nullopt;
      i = static_cast<size_t>(static_cast<const char*>(found) - text.data());
    }
    const AddedToken* token = longest_at(text.substr(i));
    if (!token) continue;
    from = i + token->content.size();
    // As in the reference, the search goes on behind the content, not behind the white space taken along; where the
    // last match took white space this one cannot take it again.
    return Match{token->id, token->lstrip ? space_before(text, i, std::min(done, i)) : i,
                 token->rstrip ? space_after(text, from) : from};
  }
  return std::nullopt;
}

}  // namespace qwill
