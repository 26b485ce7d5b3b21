// The tokenizers that tests use.
#pragma once

#include <string>

#include "text/bpe_tokenizer.h"
#include "text/detokenizer.h"

namespace qwill::test {

// The published tokenizer.json, unpacked beside the test program when that was built.
const std::string& published_tokenizer_json();
const Tokenizer& published_tokenizer();

// Expects of a tokenizer of the published vocabulary what tests/data/tokenizer/goldens.jsonl says.
void expect_goldens(const Tokenizer& tokenizer);

std::string decode_one_by_one(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                              Detokenizer::Special special);

// A tokenizer.json with the 256 bytes (id = byte), "ab" = 256, "bc" = 257, "abc" = 258 and merges that never make
// "abc" from its own bytes; <s> (special) = 259 and <n> (normalized) = 260. Each fragment replaces the text before it.
struct Replacement {
  std::string what, with;
};
std::string small_tokenizer_json(std::initializer_list<Replacement> replacements = {});

}  // namespace qwill::test
