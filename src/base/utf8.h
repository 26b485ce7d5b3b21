// UTF-8 at the level of bytes (The Unicode Standard, table 3-7): what is well-formed, and code points in and out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qwill {

// Offset of the first byte at or behind pos that is not ASCII; text.size() if there is none.
size_t skip_ascii(std::string_view text, size_t pos);

// Bytes of the well-formed sequence at the start of text; 0 if there is none (empty, ill-formed or cut short).
size_t utf8_sequence_length(std::string_view text);

// Offset of the first byte that is not part of a well-formed sequence; npos if all is well-formed.
size_t find_invalid_utf8(std::string_view text);

// The code point of the well-formed sequence at text[pos]; pos moves behind it. Precondition: well-formed.
char32_t next_code_point(std::string_view text, size_t& pos);

void append_utf8(std::string& out, char32_t code_point);

// text with each maximal ill-formed subpart replaced by U+FFFD, as the Unicode Standard recommends (and Python does).
std::string replace_invalid_utf8(std::string_view text);

}  // namespace qwill
