// The alphabet of byte-level BPE: every byte is written as one printable character. Bytes that print stand for
// themselves (as Latin-1), the other 68 become U+0100, U+0101, … in their order: a space is "Ġ", a newline "Ċ".
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace qwill {

inline constexpr bool prints_as_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

// For each code point below 0x144 the byte that it stands for, or -1.
inline constexpr auto kByteOfCharacter = [] {
  std::array<int16_t, 0x144> bytes{};
  for (auto& byte : bytes) byte = -1;
  int16_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte)
    bytes[prints_as_itself(byte) ? byte : next++] = static_cast<int16_t>(byte);
  return bytes;
}();

// Appends the bytes that a token's text stands for. False, and nothing appended, if not all of it is of the alphabet.
inline bool append_token_bytes(std::string& out, std::string_view text) {
  const size_t before = out.size();
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned code = static_cast<unsigned char>(text[i]);
    if (code >= 0x80) {
      // The alphabet ends at U+0143: two bytes, the first of them C2 … C5.
      const unsigned second = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
      if (code < 0xc2 || code > 0xc5 || (second & 0xc0) != 0x80) return out.resize(before), false;
      code = (code & 0x1f) << 6 | (second & 0x3f);
      ++i;
    }
    if (code >= kByteOfCharacter.size() || kByteOfCharacter[code] < 0) return out.resize(before), false;
    out += static_cast<char>(kByteOfCharacter[code]);
  }
  return true;
}

}  // namespace qwill
