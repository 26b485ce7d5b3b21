// Tokenizers and templates from GGUF metadata: the same as the hub's files of that vocabulary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "llm/gguf_text.h"
#include "text/tokenizer_json.h"
#include "text/tokenizers.h"
#include "weights/tiny_gguf.h"

namespace qwill::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

// What converters write of a tokenizer.json, padded to so many rows.
GgufWriter converted(const std::string& json, size_t rows) {
  const TokenizerFile file = parse_tokenizer_json(json);
  std::vector<std::string> tokens(file.vocabulary.tokens.begin(), file.vocabulary.tokens.end()), merges;
  std::vector<int32_t> types(tokens.size(), kNormal);
  for (const AddedToken& added : file.vocabulary.added) {
    const size_t id = static_cast<size_t>(added.id);
    tokens.resize(std::max(tokens.size(), id + 1));
    types.resize(tokens.size());
    tokens[id] = added.content;
    const bool looks_special = added.content.starts_with("<|") && added.content.ends_with("|>");
    types[id] = added.special || looks_special ? kControl : kUserDefined;
  }
  for (size_t id = tokens.size(); id < rows; ++id) {
    tokens.push_back(fmt::format("[PAD{}]", id));
    types.push_back(kUnused);
  }
  for (const auto& [left, right] : file.vocabulary.merges)
    merges.push_back(std::string(left) + " " + std::string(right));
  GgufWriter writer;
  writer.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "qwen2");
  writer.set("tokenizer.ggml.tokens", tokens).set("tokenizer.ggml.token_type", types);
  writer.set("tokenizer.ggml.merges", merges).set("tokenizer.ggml.add_bos_token", false);
  return writer;
}

std::optional<Tokenizer> tokenizer_of(const GgufWriter& writer) {
  const std::string bytes = writer.bytes();
  return read_gguf_tokenizer(GgufFile::parse(MappedFile::view(std::as_bytes(std::span(bytes)), "x.gguf")));
}

std::string tokenizer_error(const GgufWriter& writer) {
  return error_of([&] { tokenizer_of(writer); });
}

// Plain added tokens, which is all that the format knows.
std::string plain_json() { return small_tokenizer_json({{R"("normalized":true)", R"("normalized":false)"}}); }

TEST(GgufTokenizer, EqualsTheReferenceOnGoldens) {
  const Tokenizer tokenizer = tokenizer_of(converted(published_tokenizer_json(), 151936)).value();
  EXPECT_EQ(tokenizer.size(), 151669) << "padding rows are no tokens";
  expect_goldens(tokenizer);
  for (const AddedToken& added : published_tokenizer().added_tokens()) {
    EXPECT_EQ(tokenizer.token_id(added.content), added.id);
    EXPECT_EQ(tokenizer.is_special(added.id), added.special) << added.content;
  }
}

TEST(GgufTokenizer, NormalizesThoughTheFormatDoesNotSaySo) {
  const Tokenizer tokenizer = tokenizer_of(converted(plain_json(), 0)).value();
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("e\u0301", Tokenizer::Special::parse)), "\u00e9");
}

TEST(GgufTokenizer, AddedTokensMayStandAmongTheOthers) {
  GgufWriter writer = converted(plain_json(), 0);
  const TokenizerFile file = parse_tokenizer_json(plain_json());
  std::vector<std::string> tokens(file.vocabulary.tokens.begin(), file.vocabulary.tokens.end());
  std::vector<int32_t> types(tokens.size(), kNormal);
  tokens.insert(tokens.begin() + 256, "<s>");
  types.insert(types.begin() + 256, kControl);
  writer.set("tokenizer.ggml.tokens", tokens).set("tokenizer.ggml.token_type", types);
  const Tokenizer tokenizer = tokenizer_of(writer).value();
  EXPECT_EQ(tokenizer.size(), 260);
  EXPECT_EQ(tokenizer.encode("ab<s>a", Tokenizer::Special::parse), (std::vector<int32_t>{257, 256, 'a'}));
  EXPECT_EQ(tokenizer.encode("<s>", Tokenizer::Special::as_text), (std::vector<int32_t>{'<', 's', '>'}));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{257, 256}), "ab<s>");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{257, 256}, true), "ab");
}

TEST(GgufTokenizer, OneClearErrorForEachDamage) {
  const GgufWriter good = converted(plain_json(), 300);
  EXPECT_EQ(tokenizer_error(good), "");
  const auto changed = [&](const std::string& key, const auto& value) {
    return tokenizer_error(GgufWriter(good).set("tokenizer.ggml." + key, value));
  };
  EXPECT_EQ(changed("model", "llama"), "x.gguf: tokenizer.ggml.model: only gpt2 is supported, found llama");
  EXPECT_EQ(changed("pre", "llama-bpe"), "x.gguf: tokenizer.ggml.pre: only qwen2 is supported, found llama-bpe");
  EXPECT_THAT(changed("add_bos_token", true),
              StartsWith("x.gguf: tokenizer.ggml.add_bos_token: true is not supported"));
  EXPECT_EQ(changed("token_type", std::vector<int32_t>{1, 1}),
            "x.gguf: tokenizer.ggml.token_type: 2 of them for 300 tokens");
  EXPECT_THAT(changed("token_type", std::vector<std::string>{"1"}), HasSubstr("expected a list of integers"));
  EXPECT_THAT(changed("tokens", "abc"), HasSubstr("tokenizer.ggml.tokens: expected a list of strings"));
  EXPECT_EQ(changed("merges", std::vector<std::string>{"a b", "abc"}),
            "x.gguf: tokenizer.ggml.merges: [1]: expected \"a b\", found \"abc\"");
  EXPECT_THAT(changed("merges", std::vector<std::string>{"a b c"}), HasSubstr("[0]: expected \"a b\""));
  EXPECT_THAT(changed("merges", std::vector<std::string>{"qq zz"}),
              StartsWith("x.gguf: tokenizer.ggml.merges: merges[0]"));
  for (const char* key : {"model", "pre", "token_type", "merges"})
    EXPECT_EQ(tokenizer_error(GgufWriter(good).remove(std::string("tokenizer.ggml.") + key)),
              fmt::format("x.gguf: tokenizer.ggml.{}: missing", key));
  EXPECT_FALSE(tokenizer_of(GgufWriter(good).remove("tokenizer.ggml.tokens")));

  const auto with_tokens = [&](const std::vector<std::string>& tokens, const std::vector<int32_t>& types) {
    return tokenizer_error(
        GgufWriter(good).set("tokenizer.ggml.tokens", tokens).set("tokenizer.ggml.token_type", types));
  };
  EXPECT_THAT(with_tokens({"a", "b"}, {1, 1}), HasSubstr("tokenizer.ggml.tokens: vocab: no token for byte"));
  EXPECT_THAT(with_tokens({"a", "a"}, {1, 1}), HasSubstr("vocab[\"a\"]: given twice"));
  EXPECT_THAT(with_tokens({}, {}), HasSubstr("vocab"));
  EXPECT_THAT(with_tokens({"\xff"}, {1}), HasSubstr("not UTF-8"));
}

TEST(GgufTemplate, IsTheTextOfTheMetadata) {
  const auto read = [](const GgufWriter& writer, bool with_tools) {
    const std::string bytes = writer.bytes();
    return read_gguf_chat_template(GgufFile::parse(MappedFile::view(std::as_bytes(std::span(bytes)), "x.gguf")),
                                   with_tools);
  };
  GgufWriter writer;
  EXPECT_FALSE(read(writer, false));
  writer.set("tokenizer.chat_template", "plain");
  EXPECT_EQ(read(writer, false), "plain");
  EXPECT_EQ(read(writer, true), "plain");
  writer.set("tokenizer.chat_template.tool_use", "tools");
  EXPECT_EQ(read(writer, false), "plain");
  EXPECT_EQ(read(writer, true), "tools");
}

}  // namespace
}  // namespace qwill::test
