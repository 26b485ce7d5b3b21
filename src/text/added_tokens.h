// Finds added tokens in text, as the reference does: from left to right, at each place the longest.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace qwill {

class AddedTokenMatcher {
 public:
  struct Match {
    int32_t id;
    size_t begin, end;  // in the text, white space that the token takes along included
  };

  AddedTokenMatcher() : AddedTokenMatcher(std::vector<AddedToken>()) {}
  // tokens: their contents are not empty and differ.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // Calls plain(std::string_view) and added(int32_t id) for the parts of text in their order; no part is empty.
  template <typename Plain, typename Added>
  void split(std::string_view text, Plain&& plain, Added&& added) const {
    size_t done = 0, from = 0;
    while (const auto match = find(text, from, done)) {
      if (match->begin > done) plain(text.substr(done, match->begin - done));
      added(match->id);
      done = std::max(done, match->end);
    }
    if (done < text.size()) plain(text.substr(done));
  }

 private:
  // The first match at or behind from, which moves behind it; white space before done is taken already.
  std::optional<Match> find(std::string_view text, size_t& from, size_t done) const;
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;        // sorted by content
  std::array<uint32_t, 257> first_byte_;  // tokens_[first_byte_[b]] … tokens_[first_byte_[b + 1]] begin with byte b
  int only_byte_ = -1;                    // with which all tokens begin, if there is one such byte
};

}  // namespace qwill
