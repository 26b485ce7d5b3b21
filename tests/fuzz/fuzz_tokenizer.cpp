// The tokenizer on any bytes: an Error of one line for what is no UTF-8; otherwise ids that decode to the text in
// normal form, at once and one by one, and that are what the plainest way of merging makes of each piece.
#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "base/utf8.h"
#include "text/bpe_tokenizer.h"
#include "text/byte_alphabet.h"
#include "text/detokenizer.h"
#include "text/pretokenizer.h"
#include "text/unicode.h"

namespace {

using namespace qwill;

std::vector<std::string> single_bytes() {
  std::vector<std::string> tokens(256);
  for (char32_t code = 0; code < kByteOfCharacter.size(); ++code)
    if (kByteOfCharacter[code] >= 0) append_utf8(tokens[static_cast<size_t>(kByteOfCharacter[code])], code);
  return tokens;
}

// Merges whose tokens are made in several ways, or never by their own bytes; one added token of each kind.
const std::pair<const char*, const char*> kMerges[] = {
    {"a", "a"},  {"aa", "aa"}, {"b", "c"}, {"a", "b"},   {"ab", "c"}, {"Ġ", "a"},   {"Ġa", "a"}, {"aa", "a"},
    {"a", "bc"}, {"Ã", "©"},   {"Ġ", "Ġ"}, {"ĠĠ", "ĠĠ"}, {"c", "a"},  {"ca", "ab"}, {"Ċ", "Ċ"},  {"aaaa", "aaaa"}};

struct Fixture {
  std::vector<std::string> tokens = single_bytes();
  Vocabulary vocabulary;
  Fixture() {
    for (const auto& [left, right] : kMerges)
      if (std::string joined = std::string(left) + right;
          std::find(tokens.begin(), tokens.end(), joined) == tokens.end())
        tokens.push_back(joined);
    vocabulary.tokens.assign(tokens.begin(), tokens.end());
    vocabulary.merges.assign(std::begin(kMerges), std::end(kMerges));
    vocabulary.nfc = true;
    const int32_t first = static_cast<int32_t>(tokens.size());
    vocabulary.added = {{.id = first, .content = "<s>", .special = true},
                        {.id = first + 1, .content = "<s>a", .lstrip = true},
                        {.id = first + 2, .content = "e\u0301!", .normalized = true, .rstrip = true}};
  }
};

// The definition of byte-pair encoding, word for word.
std::vector<std::string> merge_plainly(std::string_view piece, const std::vector<std::string>& characters) {
  std::vector<std::string> parts;
  for (const char c : piece) parts.push_back(characters[static_cast<unsigned char>(c)]);
  for (;;) {
    size_t best = parts.size(), best_rank = std::size(kMerges);
    for (size_t i = 0; i + 1 < parts.size(); ++i)
      for (size_t rank = 0; rank < best_rank; ++rank)
        if (parts[i] == kMerges[rank].first && parts[i + 1] == kMerges[rank].second) {
          best = i;
          best_rank = rank;
        }
    if (best == parts.size()) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Fixture fixture;
  static const Tokenizer tokenizer(fixture.vocabulary);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<int32_t> ids;
  try {
    ids = tokenizer.encode(text, Tokenizer::Special::as_text);
    CHECK(find_invalid_utf8(text) == std::string_view::npos, "encoded what is no UTF-8");
  } catch (const Error& e) {
    CHECK(find_invalid_utf8(text) != std::string_view::npos, "refused UTF-8");
    // Its bytes as ids: decoding must cope with any.
    const std::vector<int32_t> bytes(data, data + size);
    Detokenizer detokenizer(tokenizer);
    std::string decoded;
    for (const int32_t id : bytes) {
      decoded += detokenizer.push(id);
      CHECK(find_invalid_utf8(decoded) == std::string_view::npos, "half a character came out");
    }
    CHECK(decoded + detokenizer.finish() == tokenizer.decode(bytes), "one by one differs from at once");
    return 0;
  }
  const std::string normal = nfc(text);
  CHECK(nfc(normal) == normal, "normalising twice differs");
  CHECK(nfc_quick_check(text) != std::string_view::npos || normal == text, "the quick check overlooked a change");
  CHECK(tokenizer.decode(ids) == normal, "the text does not come back");

  std::vector<int32_t> plain;
  for (const char *p = normal.data(), *end = p + normal.size(); p < end;) {
    const char* stop = piece_end(p, end);
    CHECK(stop > p && stop <= end, "a piece of no length");
    for (const std::string& token : merge_plainly({p, static_cast<size_t>(stop - p)}, fixture.tokens))
      plain.push_back(static_cast<int32_t>(std::find(fixture.tokens.begin(), fixture.tokens.end(), token) -
                                           fixture.tokens.begin()));
    p = stop;
  }
  CHECK(ids == plain, "merging plainly gives other ids");

  const std::vector<int32_t> parsed = tokenizer.encode(text, Tokenizer::Special::parse);
  for (const int32_t id : parsed) CHECK(!tokenizer.token_bytes(id).empty(), "an id that names no token");
  return 0;
}
