// Byte-pair encoding of one piece of text, exact: whatever way it takes, the result is that of merging, again and
// again, the adjacent pair of lowest rank (the leftmost of equals) until none is left.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace qwill {

// The pieces of a text that took merging, and where in the ids it came out: the same words come again and again.
class RecentPieces {
 public:
  // For one text, which must outlive it, as must the ids that are appended for it. Short texts repeat too little.
  explicit RecentPieces(std::string_view text) : slots_(text.size() < kWorthwhile ? 0 : kNumSlots) {}

  // Appends the ids of an equal piece; false if none is known.
  bool repeat(std::vector<int32_t>& ids, std::string_view piece, uint64_t key) const;
  // ids from begin on are those of piece.
  void remember(const std::vector<int32_t>& ids, size_t begin, std::string_view piece, uint64_t key);

 private:
  static constexpr size_t kWorthwhile = 8192, kNumSlots = 4096;
  struct Slot {
    uint64_t key = 0;
    std::string_view piece;
    uint32_t begin = 0, count = 0;
  };
  static size_t index(uint64_t key) { return key * 0x9e3779b97f4a7c15 >> 52; }
  std::vector<Slot> slots_;
};

// Immutable after construction as far as anyone can see, and safe to use from many threads.
class Bpe {
 public:
  // Throws Error(invalid) that names the field ("merges[17]: …"): a byte without a token, an unknown token.
  explicit Bpe(const Vocabulary& vocabulary);

  // Appends the ids of a piece, which is not empty. Bytes up to readable (at or behind its end) may be read.
  void encode(std::vector<int32_t>& ids, std::string_view piece, const char* readable, RecentPieces& recent) const;

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

  Slot* find(std::string_view token, uint64_t key) const;
  Slot* find(std::string_view token) const;
  void add_tokens(const std::vector<std::string_view>& tokens);
  void add_merges(const Vocabulary& vocabulary);
  void add_pair(uint64_t pair, uint64_t merged);
  void check_foreign_merge(const std::pair<std::string_view, std::string_view>& merge, size_t rank) const;
  bool holds(Slot& slot, uint64_t key, std::string_view token) const;
  uint64_t merged(uint32_t left, uint32_t right) const;
  bool is_whole(Slot& slot, std::string_view piece) const;
  void merge(std::vector<int32_t>& ids, std::string_view piece) const;
  void merge_short(std::vector<int32_t>& ids, std::string_view piece) const;
  void merge_long(std::vector<int32_t>& ids, std::string_view piece) const;

  std::string bytes_;  // of all tokens in a row
  std::vector<uint32_t> starts_;
  uint32_t byte_token_[256];
  std::vector<uint64_t> byte_pairs_;  // what two bytes merge to, as in PairSlot: every merging begins with these
  std::unique_ptr<Slot[]> slots_;
  std::unique_ptr<PairSlot[]> pairs_;
  int slot_shift_ = 0, pair_shift_ = 0;  // 64 - log2 of the table's size, at least one and a half times what it holds
  std::unordered_map<std::string, uint32_t> foreign_;  // tokens that are not of the byte alphabet: text has none
  bool ignore_merges_ = false;
};

}  // namespace qwill
