// Held-out texts in documents, each encoded on its own, and what makes log-probabilities of logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_tokenizer.h"

namespace qwill {

// Documents end with a line <|endoftext|>, which belongs to them.
inline std::vector<std::vector<int32_t>> encode_documents(const Tokenizer& tokenizer, std::string_view text) {
  constexpr std::string_view kEnd = "<|endoftext|>";
  std::vector<std::vector<int32_t>> docs;
  while (!text.empty()) {
    const size_t end = text.find(kEnd);
    if (end == text.npos) break;
    std::string_view doc = text.substr(0, end);
    if (doc.ends_with('\n')) doc.remove_suffix(1);
    docs.push_back(tokenizer.encode(std::string(doc) + std::string(kEnd), Tokenizer::Special::parse));
    text.remove_prefix(std::min(text.size(), end + kEnd.size() + 1));
  }
  return docs;
}

// log(sum of exp) of logits of usual size.
inline double log_sum_exp(std::span<const float> logits) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  return std::log(sum);
}

}  // namespace qwill
