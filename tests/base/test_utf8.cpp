#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/error.h"
#include "base/utf8.h"

namespace qwill {
namespace {

using namespace std::string_literals;

// Independent of base/utf8.cpp: by the definition of the encoding.
std::string encoded(uint32_t cp) {
  std::string out;
  const int more = cp < 0x80 ? 0 : cp < 0x800 ? 1 : cp < 0x10000 ? 2 : 3;
  constexpr uint32_t kLead[] = {0x00, 0xc0, 0xe0, 0xf0};
  out += static_cast<char>(kLead[more] | (cp >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((cp >> (6 * i)) & 0x3f));
  return out;
}
bool is_scalar(uint32_t cp) { return cp < 0xd800 || (cp > 0xdfff && cp < 0x110000); }

TEST(Utf8, EveryCodePointGoesOutAndIn) {
  for (uint32_t cp = 0; cp < 0x110000; ++cp) {
    if (!is_scalar(cp)) continue;
    std::string text;
    append_utf8(text, cp);
    ASSERT_EQ(text, encoded(cp)) << std::hex << cp;
    ASSERT_EQ(utf8_sequence_length(text), text.size()) << std::hex << cp;
    ASSERT_EQ(find_invalid_utf8(text), std::string::npos) << std::hex << cp;
    size_t pos = 0;
    ASSERT_EQ(next_code_point(text, pos), cp);
    ASSERT_EQ(pos, text.size());
    for (size_t n = 0; n < text.size(); ++n)
      ASSERT_EQ(utf8_sequence_length(text.substr(0, n)), 0u) << "cut short: " << std::hex << cp;
  }
}

// Table 3-7 of the Unicode Standard: of all sequences of bytes, those that encode a code point and no others.
TEST(Utf8, NothingElseIsWellFormed) {
  std::set<std::string> lengths[5];
  for (uint32_t cp = 0; cp < 0x10000; ++cp)
    if (is_scalar(cp)) lengths[encoded(cp).size()].insert(encoded(cp));
  std::string text(3, '\0');
  for (int a = 0x80; a < 0x100; ++a) {
    text[0] = static_cast<char>(a);
    for (int b = 0; b < 0x100; ++b) {
      text[1] = static_cast<char>(b);
      const size_t two = lengths[2].contains(text.substr(0, 2)) ? 2 : 0;
      for (const int c : {0x00, 0x41, 0x7f, 0x80, 0xa9, 0xbf, 0xc0, 0xff}) {
        text[2] = static_cast<char>(c);
        const size_t wanted = two ? two : lengths[3].contains(text) ? 3 : 0;
        ASSERT_EQ(utf8_sequence_length(text), wanted) << std::hex << a << ' ' << b << ' ' << c;
      }
    }
  }
  // Of four bytes, the second decides between too small, right and too large.
  for (const auto& [lead, low, high] : {std::tuple{0xf0, 0x90, 0xbf},
                                        {0xf1, 0x80, 0xbf},
                                        {0xf3, 0x80, 0xbf},
                                        {0xf4, 0x80, 0x8f},
                                        {0xf5, 1, 0},
                                        {0xff, 1, 0}})
    for (int second = 0; second < 0x100; ++second)
      for (const int last : {0x7f, 0x80, 0xbf, 0xc0}) {
        const std::string four = {static_cast<char>(lead), static_cast<char>(second), static_cast<char>(0x80),
                                  static_cast<char>(last)};
        const bool valid = second >= low && second <= high && last >= 0x80 && last <= 0xbf;
        ASSERT_EQ(utf8_sequence_length(four), valid ? 4u : 0u) << std::hex << lead << ' ' << second << ' ' << last;
      }
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("a\0b"s), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("ab\xff"), 2u);
  EXPECT_EQ(find_invalid_utf8("é\xe2\x82"), 2u);
  EXPECT_EQ(find_invalid_utf8("€\xed\xa0\x80"), 3u);
  EXPECT_EQ(utf8_sequence_length(""), 0u);
}

// bytes.decode("utf-8", "replace") of Python 3.
TEST(Utf8, ReplacesAsPythonDoes) {
  const std::string R = "\xef\xbf\xbd";
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"\x80", R},
      {"\xc2", R},
      {"\xc0\x80", R + R},
      {"\xc1\xbf", R + R},
      {"\xe0\xa0", R},
      {"\xe0\x80\x80", R + R + R},
      {"\xe0\x9f\xbf", R + R + R},
      {"\xe2\x82", R},
      {"\xe2\x82"
       "A",
       R + "A"},
      {"\xed\x9f\xbf", "\xed\x9f\xbf"},
      {"\xed\xa0\x80", R + R + R},
      {"\xee\x80\x80", "\xee\x80\x80"},
      {"\xf0\x9f\x98", R},
      {"\xf0\x9f"
       "A",
       R + "A"},
      {"\xf0\x80\x80\x80", R + R + R + R},
      {"\xf1\x80\x80", R},
      {"\xf1\x80\xc0", R + R},
      {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
      {"\xf4\x90\x80\x80", R + R + R + R},
      {"\xf5\x80", R + R},
      {"\xfe\xff", R + R},
      {"\xe2\xe2\x82\xac", R + "€"},
      {"\xc2\xc2\xa9", R + "©"},
      {"\xf0\x9f\x98\x80\x80", "😀" + R},
      {"a\xff"
       "b\xfe",
       "a" + R + "b" + R},
  };
  for (const auto& [given, wanted] : cases) EXPECT_EQ(replace_invalid_utf8(given), wanted) << printable(given);
}

TEST(Printable, QuotesOnOneLine) {
  EXPECT_EQ(printable("plain"), "plain");
  EXPECT_EQ(printable("é€😀"), "é€😀");
  EXPECT_EQ(printable("a\n\t\x1b[0m\x7f"), "a\\x0a\\x09\\x1b[0m\\x7f");
  EXPECT_EQ(printable("\xff\xe2\x82"), "\\xff\\xe2\\x82");
  EXPECT_EQ(printable("a\0b"s), "a\\x00b");
  EXPECT_EQ(printable(std::string(10, 'a'), 10), std::string(10, 'a'));
  EXPECT_EQ(printable(std::string(11, 'a'), 10), std::string(10, 'a') + "…");
  EXPECT_EQ(printable("ééé", 3), "éé…") << "no character is cut";
}

}  // namespace
}  // namespace qwill
