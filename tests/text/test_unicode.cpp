#include <gtest/gtest.h>

#include "base/utf8.h"
#include "text/unicode.h"

namespace qwill {
namespace {

// The tables themselves are proven against the reference by sweep_tokenizer.py; these tests need no reference.

std::string utf8(std::initializer_list<char32_t> codes) {
  std::string text;
  for (const char32_t code : codes) append_utf8(text, code);
  return text;
}

TEST(Unicode, ComposesAndOrders) {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"abc", "abc"},
      {utf8({'e', 0x301}), utf8({0xe9})},
      {utf8({'e', 0x323, 0x302}), utf8({0x1ec7})},
      {utf8({'e', 0x302, 0x323}), utf8({0x1ec7})},
      {utf8({0xea, 0x323}), utf8({0x1ec7})},
      {utf8({'q', 0x307, 0x323}), utf8({'q', 0x323, 0x307})},  // ordered though nothing composes
      {utf8({'a', 0x301, 0x301}), utf8({0xe1, 0x301})},        // the second is blocked by none, but there is no pair
      {utf8({'a', 0x35c, 0x315, 0x300}), utf8({0xe0, 0x315, 0x35c})},
      {utf8({0x301, 'a'}), utf8({0x301, 'a'})},
      {utf8({0x212b, 0x2126, 0x212a}), utf8({0xc5, 0x3a9, 'K'})},
      {utf8({0x1100, 0x1161, 0x11a8}), utf8({0xac01})},
      {utf8({0xac00, 0x11a8}), utf8({0xac01})},
      {utf8({0xac01, 0x11a8}), utf8({0xac01, 0x11a8})},
      {utf8({0xac00, 0x11a7}), utf8({0xac00, 0x11a7})},  // U+11A7 is no trailing consonant
      {utf8({0x958}), utf8({0x915, 0x93c})},             // excluded from composition
      {utf8({0x344}), utf8({0x308, 0x301})},
      {utf8({0x9c7, 0x9be}), utf8({0x9cb})},  // the second has no combining class
      {utf8({0x1d15e}), utf8({0x1d157, 0x1d165})},
      {utf8({0xf900}), utf8({0x8c48})},
  };
  for (const auto& [text, wanted] : cases) EXPECT_EQ(nfc(text), wanted) << text;
}

TEST(Unicode, QuickCheckNeverOverlooksAChange) {
  size_t num_quick = 0;
  for (char32_t code = 0; code < 0x110000; code == 0xd7ff ? code = 0xe000 : ++code) {
    for (const std::string& text : {utf8({code}), utf8({'e', code}), utf8({'e', 0x323, code}), utf8({0x1100, code})}) {
      const std::string normal = nfc(text);
      ASSERT_EQ(nfc(normal), normal) << static_cast<uint32_t>(code);
      if (nfc_quick_check(text) != std::string_view::npos) continue;
      ASSERT_EQ(normal, text) << static_cast<uint32_t>(code);
      ++num_quick;
    }
  }
  EXPECT_GT(num_quick, 3300000u);
}

TEST(Unicode, ManyMarksTakeNoQuadraticTime) {
  std::string text = "a";
  for (int i = 0; i < 300000; ++i) text += utf8({0x301, 0x323});
  const std::string normal = nfc(text);
  EXPECT_EQ(normal.substr(0, 3), utf8({0x1ea1}));
  EXPECT_EQ(normal.size(), text.size());
}

}  // namespace
}  // namespace qwill
