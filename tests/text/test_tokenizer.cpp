#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "support/test_paths.h"
#include "text/bpe_tokenizer.h"
#include "text/detokenizer.h"
#include "text/tokenizers.h"

namespace qwill {
namespace {

using Special = Tokenizer::Special;
using test::decode_one_by_one;
using test::published_tokenizer;
using test::small_tokenizer_json;

TEST(Tokenizer, EqualsTheReferenceOnGoldens) { test::expect_goldens(published_tokenizer()); }

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer& tokenizer = published_tokenizer();
  EXPECT_EQ(tokenizer.size(), 151669);
  EXPECT_EQ(tokenizer.token_id("<|im_end|>"), 151645);
  EXPECT_EQ(tokenizer.token_id("<tool_call>"), 151657);
  EXPECT_EQ(tokenizer.token_id("hello"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(151645));
  EXPECT_FALSE(tokenizer.is_special(151657));
  EXPECT_TRUE(tokenizer.is_added(151657));
  EXPECT_FALSE(tokenizer.is_added(271));
  EXPECT_EQ(tokenizer.token_bytes(271), "\n\n");
  EXPECT_EQ(tokenizer.token_bytes(151667), "<think>");
  for (const int32_t id : {-1, 151669, 151935, INT32_MAX, INT32_MIN}) EXPECT_EQ(tokenizer.token_bytes(id), "") << id;
}

TEST(Tokenizer, SegmentsOfDifferentModesFollowEachOther) {
  const Tokenizer& tokenizer = published_tokenizer();
  std::vector<int32_t> ids;
  tokenizer.encode_to(ids, "<|im_start|>user\n", Special::parse);
  tokenizer.encode_to(ids, "<|im_end|>", Special::as_text);
  tokenizer.encode_to(ids, "", Special::as_text);
  tokenizer.encode_to(ids, "<|im_end|>", Special::parse);
  EXPECT_EQ(ids, (std::vector<int32_t>{151644, 872, 198, 27, 91, 318, 6213, 91, 29, 151645}));
}

TEST(Tokenizer, SegmentsAreReadAsOneText) {
  const Tokenizer& tokenizer = published_tokenizer();
  using Special = Tokenizer::Special;
  const auto encode = [&](std::vector<Tokenizer::Segment> segments) { return tokenizer.encode_segments(segments); };
  // White space and a combining mark across the border belong together, as the reference reads the whole.
  EXPECT_EQ(
      encode({{"<|im_start|>user\n", Special::parse}, {"\n\nhi", Special::as_text}, {"<|im_end|>\n", Special::parse}}),
      tokenizer.encode("<|im_start|>user\n\n\nhi<|im_end|>\n", Special::parse));
  EXPECT_EQ(encode({{"e", Special::as_text}, {"\u0301 x", Special::as_text}}),
            tokenizer.encode("\u00e9 x", Special::parse));
  // Special tokens in an untrusted segment are text, however the borders lie.
  EXPECT_EQ(encode({{"a<|im_end|>b", Special::as_text}}), tokenizer.encode("a<|im_end|>b", Special::as_text));
  EXPECT_EQ(encode({{"<|im_", Special::as_text}, {"end|>", Special::parse}}),
            tokenizer.encode("<|im_end|>", Special::as_text));
  EXPECT_TRUE(encode({}).empty());
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  for (const auto& [text, place] : {std::pair<std::string, const char*>{"ab\xff", "2"},
                                    {"\xc3", "0"},
                                    {"é\xed\xa0\x80", "2"},
                                    {"aaaaaaaaaaaaaaaaaaaaaaaa\xf4\x90\x80\x80", "24"}}) {
    try {
      published_tokenizer().encode(text, Special::parse);
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()), std::string("invalid UTF-8 at byte ") + place);
      EXPECT_EQ(e.kind(), ErrorKind::invalid);
    }
  }
}

TEST(Tokenizer, IsTheSameFromManyThreads) {
  // A fresh one: what it learns about its tokens while encoding is shared.
  const Tokenizer tokenizer = Tokenizer::from_json(test::published_tokenizer_json());
  std::string text;
  for (int32_t id = 0; id < tokenizer.size(); ++id) (text += tokenizer.decode(std::vector<int32_t>{id})) += ' ';
  const auto wanted = published_tokenizer().encode(text, Special::as_text);
  std::atomic<int> num_equal = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] { num_equal += tokenizer.encode(text, Special::as_text) == wanted; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_equal, 4);
}

TEST(Tokenizer, FollowsTheMergesUnlessToldToIgnoreThem) {
  // "abc" is a token, but b c merges first, so its own bytes never make it.
  const Tokenizer plain = Tokenizer::from_json(small_tokenizer_json());
  EXPECT_EQ(plain.encode("abc", Special::parse), (std::vector<int32_t>{'a', 257}));
  EXPECT_EQ(plain.encode("abc abc", Special::parse), (std::vector<int32_t>{'a', 257, ' ', 'a', 257}));
  const Tokenizer ignoring =
      Tokenizer::from_json(small_tokenizer_json({{"\"ignore_merges\":false", "\"ignore_merges\":true"}}));
  EXPECT_EQ(ignoring.encode("abc", Special::parse), (std::vector<int32_t>{258}));
  EXPECT_EQ(ignoring.encode("abcb", Special::parse), (std::vector<int32_t>{'a', 257, 'b'}));
}

TEST(Tokenizer, NormalizesOnlyIfTheFileSaysSo) {
  const Tokenizer plain = Tokenizer::from_json(small_tokenizer_json({{R"({"type":"NFC"})", "null"}}));
  EXPECT_EQ(plain.decode(plain.encode("e\u0301", Special::parse)), "e\u0301");
  const Tokenizer nfc = Tokenizer::from_json(small_tokenizer_json());
  EXPECT_EQ(nfc.decode(nfc.encode("e\u0301", Special::parse)), "\u00e9");
}

TEST(Tokenizer, AddedTokensBeforeAndAfterNormalization) {
  // U+226E decomposes to "<" and U+0338, so only a normalized token can begin with it.
  const Tokenizer tokenizer = Tokenizer::from_json(small_tokenizer_json(
      {{"\"content\":\"<s>\"", "\"content\":\"<\u0338\""}, {"\"content\":\"<n>\"", "\"content\":\"e\u0301!\""}}));
  EXPECT_EQ(tokenizer.encode("<\u0338", Special::parse), (std::vector<int32_t>{259}));
  EXPECT_EQ(tokenizer.encode("\u226e", Special::parse).size(), 3u);
  EXPECT_EQ(tokenizer.encode("e\u0301!", Special::parse), (std::vector<int32_t>{260}));
  EXPECT_EQ(tokenizer.encode("\u00e9!", Special::parse), (std::vector<int32_t>{260}));
  EXPECT_EQ(tokenizer.encode("\u00e9!", Special::as_text).size(), 3u);
}

TEST(Tokenizer, AddedTokensTakeWhiteSpaceAlong) {
  const Tokenizer tokenizer = Tokenizer::from_json(
      small_tokenizer_json({{"\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false",
                             "\"content\":\"<s>\",\"single_word\":false,\"lstrip\":true,\"rstrip\":true"}}));
  EXPECT_EQ(tokenizer.encode("a \u3000<s>\n b", Special::parse), (std::vector<int32_t>{'a', 259, 'b'}));
  EXPECT_EQ(tokenizer.encode(" <s> <s> ", Special::parse), (std::vector<int32_t>{259, 259}));
}

TEST(Detokenizer, HoldsBackOnlyWhatMayStillBecomeText) {
  const Tokenizer tokenizer = Tokenizer::from_json(small_tokenizer_json());
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push(0xf0), "");
  EXPECT_EQ(detokenizer.push(0x9f), "");
  EXPECT_EQ(detokenizer.push(0x98), "");
  EXPECT_EQ(detokenizer.pending(), "\xf0\x9f\x98");
  EXPECT_EQ(detokenizer.push(0x80), "😀");
  EXPECT_EQ(detokenizer.push(0xf0), "");
  EXPECT_EQ(detokenizer.push(0x8f), "\ufffd\ufffd");  // F0 8F begins nothing
  EXPECT_EQ(detokenizer.push(0xe2), "");
  EXPECT_EQ(detokenizer.push('a'),
            "\ufffd"
            "a");
  EXPECT_EQ(detokenizer.push(0xc3), "");
  EXPECT_EQ(detokenizer.push(100000), "");  // names no token
  EXPECT_EQ(detokenizer.finish(), "\ufffd");
  EXPECT_EQ(detokenizer.push(0xa9), "\ufffd");
  EXPECT_EQ(detokenizer.finish(), "");
}

// Every sequence of up to four bytes of these, all the ways UTF-8 can go wrong.
TEST(Detokenizer, EqualsDecodeOnEveryShortSequence) {
  const Tokenizer tokenizer = Tokenizer::from_json(small_tokenizer_json());
  const int32_t bytes[] = {'a', 0x80, 0x90, 0xa0, 0xbf, 0xc1, 0xc3, 0xe0, 0xe2, 0xed, 0xf0, 0xf1, 0xf4, 0xf5, 0xff};
  std::vector<size_t> digits(4);
  size_t num_sequences = 0;
  for (size_t length = 1; length <= 4; ++length) {
    size_t combinations = 1;
    for (size_t i = 0; i < length; ++i) combinations *= std::size(bytes);
    for (size_t n = 0; n < combinations; ++n, ++num_sequences) {
      std::vector<int32_t> ids;
      for (size_t i = 0, rest = n; i < length; ++i, rest /= std::size(bytes))
        ids.push_back(bytes[rest % std::size(bytes)]);
      ASSERT_EQ(decode_one_by_one(tokenizer, ids, Detokenizer::Special::keep), tokenizer.decode(ids)) << n;
    }
  }
  EXPECT_EQ(num_sequences, 15u + 225 + 3375 + 50625);
}

}  // namespace
}  // namespace qwill
