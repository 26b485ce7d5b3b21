#include "text/pretokenizer.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "text/unicode.h"

namespace qwill {
namespace {

// One character: what the pattern asks of it, and where the next begins.
enum class Kind : uint8_t { other, letter, number, space, newline, beyond_ascii };

constexpr auto kAsciiKind = [] {
  std::array<Kind, 256> kinds{};
  for (unsigned c = 0; c < 256; ++c) {
    const bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    kinds[c] = c >= 0x80                              ? Kind::beyond_ascii
               : letter                               ? Kind::letter
               : c >= '0' && c <= '9'                 ? Kind::number
               : c == '\n' || c == '\r'               ? Kind::newline
               : c == ' ' || (c >= '\t' && c <= '\r') ? Kind::space
                                                      : Kind::other;
  }
  return kinds;
}();

struct Character {
  Kind kind;
  const char* next;
};

inline unsigned byte_at(const char* p) { return static_cast<unsigned char>(*p); }

Character beyond_ascii(const char* p) {
  const unsigned lead = byte_at(p);
  char32_t code;
  size_t length;
  if (lead < 0xe0) {
    code = (lead & 0x1f) << 6 | (byte_at(p + 1) & 0x3f);
    length = 2;
  } else if (lead < 0xf0) {
    code = (lead & 0x0f) << 12 | (byte_at(p + 1) & 0x3f) << 6 | (byte_at(p + 2) & 0x3f);
    length = 3;
  } else {
    code = (lead & 0x07) << 18 | (byte_at(p + 1) & 0x3f) << 12 | (byte_at(p + 2) & 0x3f) << 6 | (byte_at(p + 3) & 0x3f);
    length = 4;
  }
  return {static_cast<Kind>(char_class(code)), p + length};
}

static_assert(static_cast<int>(Kind::other) == static_cast<int>(CharClass::other) &&
              static_cast<int>(Kind::letter) == static_cast<int>(CharClass::letter) &&
              static_cast<int>(Kind::number) == static_cast<int>(CharClass::number) &&
              static_cast<int>(Kind::space) == static_cast<int>(CharClass::space));

inline Character character(const char* p) {
  const Kind kind = kAsciiKind[byte_at(p)];
  return kind == Kind::beyond_ascii ? beyond_ascii(p) : Character{kind, p + 1};
}

// \p{L}*
inline const char* skip_letters(const char* p, const char* end) {
  for (;;) {
#if defined(__SSE2__)
    // Sixteen bytes at a time: (c | 0x20) - 'a' < 26, unsigned, by a signed comparison moved by 128.
    while (end - p >= 16) {
      const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      const __m128i lower = _mm_or_si128(text, _mm_set1_epi8(0x20));
      const __m128i moved = _mm_sub_epi8(lower, _mm_set1_epi8(static_cast<char>('a' + 128)));
      const int letters = _mm_movemask_epi8(_mm_cmplt_epi8(moved, _mm_set1_epi8(-128 + 26)));
      const int run = std::countr_one(static_cast<unsigned>(letters));
      p += run;
      if (run < 16) break;
    }
#endif
    while (p < end && kAsciiKind[byte_at(p)] == Kind::letter) ++p;
    if (p == end || byte_at(p) < 0x80) return p;
    while (p < end && byte_at(p) >= 0x80) {
      const Character c = beyond_ascii(p);
      if (c.kind != Kind::letter) return p;
      p = c.next;
    }
  }
}

// [^\s\p{L}\p{N}]*[\r\n]*
inline const char* skip_others(const char* p, const char* end) {
  while (p < end) {
    const Character c = character(p);
    if (c.kind != Kind::other) break;
    p = c.next;
  }
  while (p < end && kAsciiKind[byte_at(p)] == Kind::newline) ++p;
  return p;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ where p stands on white space.
const char* skip_space(const char* p, const char* end) {
  const char* const begin = p;
  const char* after_newline = nullptr;
  const char* last = p;  // the last white space seen
  while (p < end) {
    const Character c = character(p);
    if (c.kind != Kind::space && c.kind != Kind::newline) break;
    last = p;
    p = c.next;
    if (c.kind == Kind::newline) after_newline = p;
  }
  if (after_newline) return after_newline;
  return p == end || last == begin ? p : last;
}

// The length of (?i:'s|'t|'re|'ve|'m|'ll|'d) at p, which stands on the apostrophe; 0 if it does not match.
inline size_t contraction(const char* p, const char* end) {
  if (end - p < 2) return 0;
  switch (byte_at(p + 1) | 0x20) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return end - p > 2 && (byte_at(p + 2) | 0x20) == 'e' ? 3 : 0;
    case 'l': return end - p > 2 && (byte_at(p + 2) | 0x20) == 'l' ? 3 : 0;
    // U+017F, the long s, is an s to the reference's engine when case is ignored.
    case 0xc5 | 0x20: return byte_at(p + 1) == 0xc5 && byte_at(p + 2) == 0xbf ? 3 : 0;
    default: return 0;
  }
}

}  // namespace

const char* piece_end(const char* begin, const char* end) {
  const Character first = character(begin);
  switch (first.kind) {
    case Kind::letter: return skip_letters(first.next, end);
    case Kind::number: return first.next;
    case Kind::newline: return skip_space(begin, end);
    default: break;
  }
  if (*begin == '\'') {
    if (const size_t length = contraction(begin, end)) return begin + length;
  }
  if (first.next == end) return end;
  const Character second = character(first.next);
  if (second.kind == Kind::letter) return skip_letters(second.next, end);
  if (first.kind == Kind::other) return skip_others(first.next, end);
  if (*begin == ' ' && second.kind == Kind::other) return skip_others(second.next, end);
  return skip_space(begin, end);
}

}  // namespace qwill
