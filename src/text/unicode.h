// What the tokenizer knows of Unicode: the three classes of the pre-tokenizer's pattern, and normalisation form C.
// Both as the pinned reference build has them (tools/make_unicode_tables.py), which is no single version of Unicode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace qwill {

// \p{L}, \p{N}, \s, and everything else. No code point is in two of them.
enum class CharClass : uint8_t { other = 0, letter = 1, number = 2, space = 3 };

namespace unicode_detail {
// Two stages: kStage2[kStage1[code / 128] * 128 + code % 128]; the low two bits are the CharClass.
extern const uint8_t* const stage1;
extern const uint8_t* const stage2;
inline uint8_t properties(char32_t code) { return stage2[stage1[code >> 7] * 128 + (code & 127)]; }
}  // namespace unicode_detail

// code: a Unicode scalar value.
inline CharClass char_class(char32_t code) { return static_cast<CharClass>(unicode_detail::properties(code) & 3); }

// Offset from which text might change under NFC; npos if it is certainly in form C already. text: well-formed UTF-8.
size_t nfc_quick_check(std::string_view text);

// text in normalisation form C. text: well-formed UTF-8.
std::string nfc(std::string_view text);

}  // namespace qwill
