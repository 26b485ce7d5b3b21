#include "text/tokenizers.h"

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

}  // namespace

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
