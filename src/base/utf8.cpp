#include "base/utf8.h"

#include <bit>
#include <cstring>

namespace qwill {
namespace {

unsigned byte_at(std::string_view text, size_t i) { return static_cast<unsigned char>(text[i]); }

// Length that the first byte announces, and the range that the second byte must lie in.
struct Lead {
  size_t length;
  unsigned second_low = 0x80, second_high = 0xbf;
};

Lead lead_of(unsigned c) {
  if (c < 0x80) return {1};
  if (c < 0xc2) return {0};
  if (c < 0xe0) return {2};
  if (c == 0xe0) return {3, 0xa0, 0xbf};
  if (c == 0xed) return {3, 0x80, 0x9f};
  if (c < 0xf0) return {3};
  if (c == 0xf0) return {4, 0x90, 0xbf};
  if (c < 0xf4) return {4};
  if (c == 0xf4) return {4, 0x80, 0x8f};
  return {0};
}

// Bytes of the longest prefix of text that could start a well-formed sequence (at least 1).
size_t valid_prefix(std::string_view text, const Lead& lead) {
  size_t n = 1;
  while (n < lead.length && n < text.size()) {
    const unsigned c = byte_at(text, n);
    const unsigned low = n == 1 ? lead.second_low : 0x80, high = n == 1 ? lead.second_high : 0xbf;
    if (c < low || c > high) break;
    ++n;
  }
  return n;
}

}  // namespace

size_t skip_ascii(std::string_view text, size_t pos) {
  for (uint64_t word; pos + sizeof word <= text.size(); pos += sizeof word) {
    std::memcpy(&word, text.data() + pos, sizeof word);
    word &= 0x8080808080808080;
    if (word == 0) continue;
    if constexpr (std::endian::native == std::endian::little) return pos + std::countr_zero(word) / 8;
    break;
  }
  while (pos < text.size() && byte_at(text, pos) < 0x80) ++pos;
  return pos;
}

size_t utf8_sequence_length(std::string_view text) {
  if (text.empty()) return 0;
  const Lead lead = lead_of(byte_at(text, 0));
  return lead.length != 0 && valid_prefix(text, lead) == lead.length ? lead.length : 0;
}

size_t find_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    i = skip_ascii(text, i);
    if (i == text.size()) break;
    const size_t n = utf8_sequence_length(text.substr(i));
    if (n == 0) return i;
    i += n;
  }
  return std::string_view::npos;
}

char32_t next_code_point(std::string_view text, size_t& pos) {
  const unsigned c = byte_at(text, pos);
  const size_t n = lead_of(c).length;
  char32_t cp = n == 1 ? c : c & (0xffu >> (n + 1));
  for (size_t i = 1; i < n; ++i) cp = (cp << 6) | (byte_at(text, pos + i) & 0x3f);
  pos += n;
  return cp;
}

void append_utf8(std::string& out, char32_t cp) {
  if (cp < 0x80) {
    out += static_cast<char>(cp);
  } else if (cp < 0x800) {
    out += static_cast<char>(0xc0 | (cp >> 6));
    out += static_cast<char>(0x80 | (cp & 0x3f));
  } else if (cp < 0x10000) {
    out += static_cast<char>(0xe0 | (cp >> 12));
    out += static_cast<char>(0x80 | ((cp >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (cp & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (cp >> 18));
    out += static_cast<char>(0x80 | ((cp >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((cp >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (cp & 0x3f));
  }
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_sequence_length(text.substr(i));
    if (n != 0) {
      out += text.substr(i, n);
      i += n;
    } else {
      out += "\xef\xbf\xbd";
      const Lead lead = lead_of(byte_at(text, i));
      i += lead.length == 0 ? 1 : valid_prefix(text.substr(i), lead);
    }
  }
  return out;
}

}  // namespace qwill
