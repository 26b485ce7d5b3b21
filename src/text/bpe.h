// Byte-pair encoding of one piece of text, exact: whatever way it takes, the result is that of merging, again and
// again, the adjacent pair of lowest rank (the leftmost of equals) until none is left.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/vocabulary.h"

namespace qwill {

// Immutable after construction as far as anyone can see, and safe to use from many threads.
class Bpe {
 public:
  // Throws Error(invalid) that names the field ("merges[17]: …"): a byte without a token, an unknown token.
  explicit Bpe(const Vocabulary& vocabulary);

  // Appends the ids of a piece, which is not empty. Bytes up to readable (at or behind its end) may be read.
  void encode(std::vector<int32_t>& ids, std::string_view piece, const char* readable) const;

  int32_t size() const { return static_cast<int32_t>(starts_.size() - 1); }
  // id: 0 … size() - 1.
  std::string_view token_bytes(int32_t id) const {
    return {bytes_.data() + starts_[id], starts_[id + 1] - starts_[id]};
  }
  // The id of a token given in the byte-level alphabet.
  std::optional<int32_t> token_id(std::string_view token) const;

 private:
  // A token of up to 8 bytes is its own key; a longer one is found by a hash of all its bytes and then compared.
  struct Slot {
    uint64_t key;
    uint32_t length;  // 0: the slot is free. The upper two bits hold what is known of the token (bpe.cpp).
    uint32_t id;
  };
  struct PairSlot {
    uint64_t pair;    // the ids of both
    uint64_t merged;  // rank in the upper half, id in the lower, so that comparing compares ranks; kNoMerge: free
  };
  static constexpr uint64_t kNoMerge = ~uint64_t{0};

  Slot* find(std::string_view token, const char* readable) const;
  void add_token(std::string_view text, uint32_t id);
  void add_merge(std::string_view left, std::string_view right, uint32_t rank);
  uint64_t merged(uint32_t left, uint32_t right) const;
  bool is_whole(Slot& slot, std::string_view piece) const;
  void merge(std::vector<int32_t>& ids, std::string_view piece) const;
  void merge_short(std::vector<int32_t>& ids, std::string_view piece) const;
  void merge_long(std::vector<int32_t>& ids, std::string_view piece) const;

  std::string bytes_;  // of all tokens in a row
  std::vector<uint32_t> starts_;
  uint32_t byte_token_[256];
  std::unique_ptr<Slot[]> slots_;
  std::unique_ptr<PairSlot[]> pairs_;
  int slot_shift_ = 0, pair_shift_ = 0;  // 64 - log2 of the table's size, which is at least twice what it holds
  std::unordered_map<std::string, uint32_t> foreign_;  // tokens that are not of the byte alphabet: text has none
  bool ignore_merges_ = false;
};

}  // namespace qwill
