#include <gtest/gtest.h>

#include "base/error.h"
#include "text/bpe_tokenizer.h"
#include "text/tokenizers.h"

namespace qwill {
namespace {

using test::small_tokenizer_json;

std::string error_of(const std::string& json) {
  try {
    Tokenizer::from_json(json);
    return "no error";
  } catch (const Error& e) {
    return e.what();
  }
}

struct Damage {
  const char *what, *with, *error;
};

TEST(TokenizerJson, ReadsBothSpellingsOfMerges) {
  const std::string lines =
      small_tokenizer_json({{R"([["b","c"],["a","b"],["ab","c"]])", R"(["#version: 0.2", "b c", "a b", "ab c"])"}});
  for (const std::string& json : {small_tokenizer_json(), lines})
    EXPECT_EQ(Tokenizer::from_json(json).encode("abc ab", Tokenizer::Special::parse),
              (std::vector<int32_t>{'a', 257, ' ', 256}));
}

TEST(TokenizerJson, OneClearErrorForEachDamage) {
  const Damage damages[] = {
      {"\"vocab\":", "\"vocab2\":", "model: vocab: missing"},
      {"\"merges\":", "\"merges2\":", "model: merges: missing"},
      {"\"model\":", "\"model2\":", "model: missing"},
      {"\"pre_tokenizer\":", "\"x\":", "pre_tokenizer: missing"},
      {"\"decoder\":", "\"x\":", "decoder: missing"},
      {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":{\"type\":\"Fuse\"}",
       "decoder: type: only ByteLevel is supported, found Fuse"},
      {R"({"type":"NFC"})", R"({"type":"NFKC"})", "normalizer: type: only NFC is supported, found NFKC"},
      {R"({"type":"NFC"})", R"("NFC")", "normalizer: type: missing"},
      {R"("type":"BPE")", R"("type":"Unigram")", "model: type: only BPE is supported, found Unigram"},
      {R"("type":"BPE")", R"("type":7)", "model: type: expected a string, found an integer"},
      {R"("dropout":null)", R"("dropout":0.1)", "model: dropout: only 0 is supported"},
      {R"("end_of_word_suffix":null)", R"("end_of_word_suffix":"</w>")",
       "model: end_of_word_suffix: only an empty one is supported"},
      {R"("use_regex":false)", R"("use_regex":true)",
       "pre_tokenizer: pretokenizers[1]: use_regex: only false is supported"},
      {R"(\\p{N}|)", R"(\\p{N}{1,3}|)", nullptr},
      {R"("behavior":"Isolated")", R"("behavior":"Removed")",
       "pre_tokenizer: pretokenizers[0]: behavior: only Isolated is supported"},
      {R"("abc":258)", R"("abc":257)", "model.vocab[\"abc\"]: id 257 belongs to \"bc\" too"},
      {R"("abc":258)", R"("abc":1000000000)",
       "model.vocab[\"abc\"]: id 1000000000 leaves a hole: there are 259 tokens"},
      {R"("abc":258)", R"("abc":-1)", "model.vocab[\"abc\"]: expected an id, found -1"},
      {R"("abc":258)", R"("abc":4294967296)", "model.vocab[\"abc\"]: expected an id, found 4294967296"},
      {R"("abc":258)", R"("abc":2.5)", "model.vocab[\"abc\"]: expected an id, found 2.5"},
      {R"("abc":258)", R"("abc":"x")", "model.vocab[\"abc\"]: expected an id, found a string"},
      {R"("abc":258)", R"("abc":[1])", "model.vocab[\"abc\"]: expected an id, found an array"},
      {R"("abc":258)", R"("abc":{"a":1})", "model.vocab[\"abc\"]: expected an id, found an object"},
      {R"("abc":258)", R"("ab":258)", "model.vocab[\"ab\"]: given twice"},
      {R"("a":97,)", R"("aa":97,)", "model.vocab: no token for byte 0x61"},
      {R"(["ab","c"])", R"(["ab","x"])", "model.merges[2]: \"abx\" is not in the vocabulary"},
      {R"(["ab","c"])", R"(["ab","cc"])", "model.merges[2]: \"cc\" is not in the vocabulary"},
      {R"(["ab","c"])", R"(["","abc"])", "model.merges[2]: \"\" is not in the vocabulary"},
      {R"(["ab","c"])", R"(["ab"])", "model.merges[2]: expected two strings in an array or \"a b\", found 1 strings"},
      {R"(["ab","c"])", R"(["ab","c","d"])",
       "model.merges[2]: expected two strings in an array or \"a b\", found 3 strings"},
      {R"(["ab","c"])", R"(["ab",3])", "model.merges[2]: expected two strings in an array or \"a b\", found 3"},
      {R"(["ab","c"])", R"("abc")", "model.merges[2]: expected two strings in an array or \"a b\", found \"abc\""},
      {R"(["ab","c"])", R"("a b c")", "model.merges[2]: expected two strings in an array or \"a b\", found \"a b c\""},
      {R"(["ab","c"])", R"({})", "model.merges[2]: expected two strings in an array or \"a b\", found an object"},
      {R"(["ab","c"])", R"([["ab"],"c"])",
       "model.merges[2]: expected two strings in an array or \"a b\", found an array"},
      {R"("merges":[)", R"("merges":[],"merges":[)", "model.merges: given twice"},
      {R"("merges":[)", R"("vocab":{},"merges":[)", "model.vocab: given twice"},
      {R"("merges":[)", R"("vocab":3,"merges":[)", "model: vocab: expected a table, found an integer"},
      {R"("id":259)", R"("id":300)", "added_tokens[0]: id: expected 259 for \"<s>\", found 300"},
      {R"("id":259)", R"("id":-1)", "added_tokens[0]: id: -1 is out of range"},
      {R"("id":259)", R"("id":1e9)", nullptr},
      {R"("id":259)", R"("id":null)", nullptr},
      {R"("content":"<s>")", R"("content":"")", "added_tokens[0]: content: empty"},
      {R"("content":"<s>")", R"("content":"<n>")", nullptr},
      {R"("content":"<s>")", R"("content":"\udc00")", "added_tokens[0]: content: not UTF-8"},
      {R"("abc":258)", R"("\udc00":258)", "model.vocab[\"\\xed\\xb0\\x80\"]: not UTF-8"},
      {R"("abc":258)", R"("\ud800":258)", nullptr},
      {R"("content":"<s>")", R"("content":5)", "added_tokens[0]: content: expected a string, found an integer"},
      {R"("single_word":false)", R"("single_word":true)", "added_tokens[0]: single_word: only false is supported"},
      {R"("added_tokens":[)", R"("added_tokens":[7,)", nullptr},
      {R"("added_tokens":[)", R"("added_tokens":{"a":[)", nullptr},
      {R"({"version":"1.0")", R"([{"version":"1.0")", nullptr},
      {R"("version":"1.0")", "\"version\":\"\xff\"", nullptr},
  };
  for (const Damage& damage : damages) {
    const std::string json = small_tokenizer_json({{damage.what, damage.with}});
    const std::string error = error_of(json);
    EXPECT_NE(error, "no error") << damage.with;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    if (damage.error) {
      EXPECT_EQ(error, damage.error) << damage.with;
    }
  }
}

TEST(TokenizerJson, EveryPrefixIsAnError) {
  const std::string json = small_tokenizer_json();
  for (size_t n = 0; n < json.size(); ++n) ASSERT_NE(error_of(json.substr(0, n)), "no error") << n;
  EXPECT_EQ(error_of(json), "no error");
}

TEST(TokenizerJson, SurvivesDeepNesting) {
  const std::string deep = "\"version\":" + std::string(100000, '[') + std::string(100000, ']');
  EXPECT_EQ(error_of(small_tokenizer_json({{"\"version\":\"1.0\"", deep}})), "nested deeper than 64 levels");
}

TEST(TokenizerJson, KeepsTokensOutsideOfTheAlphabet) {
  const Tokenizer tokenizer =
      Tokenizer::from_json(small_tokenizer_json({{R"("abc":258)", R"("世":258)"}, {R"(["ab","c"])", R"(["b","c"])"}}));
  EXPECT_EQ(tokenizer.token_bytes(258), "世");
  EXPECT_EQ(tokenizer.encode("世", Tokenizer::Special::parse).size(), 3u);
}

}  // namespace
}  // namespace qwill
