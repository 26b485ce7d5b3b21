#include "text/tokenizers.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/utf8.h"
#include "support/test_paths.h"
#include "text/byte_alphabet.h"

namespace qwill::test {
namespace {

std::string characters_of_all_bytes() {
  std::string vocab;
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string character;
    for (char32_t code = 0; code < kByteOfCharacter.size(); ++code)
      if (kByteOfCharacter[code] == static_cast<int>(byte)) append_utf8(character, code);
    vocab += json_quote(character) + ":" + std::to_string(byte) + ",";
  }
  return vocab;
}

std::vector<int32_t> ids_of(const Json& line) {
  std::vector<int32_t> ids;
  for (const Json& id : line.find("ids")->as_array()) ids.push_back(static_cast<int32_t>(id.as_integer()));
  return ids;
}

// As tools/make_tokenizer_goldens.py computes it.
std::string fnv1a(const std::vector<int32_t>& ids) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const int32_t id : ids)
    for (const char c : std::to_string(id) + " ") hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

}  // namespace

std::string decode_one_by_one(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                              Detokenizer::Special special) {
  Detokenizer detokenizer(tokenizer, special);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

void expect_goldens(const Tokenizer& tokenizer) {
  using Special = Tokenizer::Special;
  std::ifstream file(source_path("tests/data/tokenizer/goldens.jsonl"));
  std::string text;
  size_t num_encoded = 0, num_runs = 0, num_decoded = 0;
  while (std::getline(file, text)) {
    const Json line = Json::parse(text);
    if (const Json* unit = line.find("unit")) {
      std::string run;
      for (int64_t i = 0; i < line.integer("count"); ++i) run += unit->as_string();
      const auto ids = tokenizer.encode(run, Special::parse);
      EXPECT_EQ(static_cast<int64_t>(ids.size()), line.integer("num_ids")) << unit->dump();
      EXPECT_EQ(fnv1a(ids), line.string_or("hash", "")) << unit->dump();
      ++num_runs;
    } else if (const Json* wanted = line.find("text")) {
      const auto special = line.boolean_or("as_text", false) ? Special::as_text : Special::parse;
      ASSERT_EQ(tokenizer.encode(wanted->as_string(), special), ids_of(line)) << text;
      ++num_encoded;
    } else {
      const auto ids = ids_of(line);
      const std::string decoded = line.string_or("decoded", ""), skipped = line.string_or("skipped", "");
      ASSERT_EQ(tokenizer.decode(ids), decoded) << text;
      ASSERT_EQ(tokenizer.decode(ids, true), skipped) << text;
      ASSERT_EQ(decode_one_by_one(tokenizer, ids, Detokenizer::Special::keep), decoded) << text;
      ASSERT_EQ(decode_one_by_one(tokenizer, ids, Detokenizer::Special::skip), skipped) << text;
      ++num_decoded;
    }
  }
  EXPECT_GE(num_encoded, 5000u);
  EXPECT_GE(num_runs, 20u);
  EXPECT_GE(num_decoded, 500u);
}

const std::string& published_tokenizer_json() {
  static const std::string text(MappedFile::open(beside_program("qwen3-tokenizer/tokenizer.json")).text());
  return text;
}

const Tokenizer& published_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::from_json(published_tokenizer_json());
  return tokenizer;
}

std::string small_tokenizer_json(std::initializer_list<Replacement> replacements) {
  std::string json = R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[
    {"id":259,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
    {"id":260,"content":"<n>","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false}],
  "normalizer":{"type":"NFC"},
  "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    "behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":false}]},
  "post_processor":null,"decoder":{"type":"ByteLevel"},
  "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"","end_of_word_suffix":null,
    "fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
    "vocab":{)" + characters_of_all_bytes() +
                     R"("ab":256,"bc":257,"abc":258},"merges":[["b","c"],["a","b"],["ab","c"]]}})";
  for (const auto& [what, with] : replacements) {
    const size_t found = json.find(what);
    CHECK(found != std::string::npos, "the small tokenizer does not hold what a test replaces");
    json.replace(found, what.size(), with);
  }
  return json;
}

}  // namespace qwill::test
