#include "text/bpe.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <functional>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_alphabet.h"

namespace qwill {
namespace {

static_assert(std::endian::native == std::endian::little, "the first byte of a key is its lowest");

// Whether merging makes the token from its own bytes. Most do, a hand-made vocabulary may hold others. Found out when a
// token is first met, since trying all of them would double the loading time.
constexpr uint32_t kIsWhole = 1u << 31, kIsNotWhole = 1u << 30, kLengthMask = kIsNotWhole - 1;

constexpr size_t kKeyBytes = 8;
constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;

// Longer pieces are merged by a heap: the simple way costs the square of the length, and is faster up to about here.
constexpr size_t kShortPiece = 48;

uint64_t load8(const char* p) {
  uint64_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

uint64_t short_key(std::string_view token, const char* readable) {
  if (readable - token.data() >= static_cast<ptrdiff_t>(kKeyBytes))
    return load8(token.data()) & (~uint64_t{0} >> (64 - 8 * token.size()));
  uint64_t key = 0;
  std::memcpy(&key, token.data(), token.size());
  return key;
}

uint64_t long_key(std::string_view token) {
  uint64_t hash = token.size();
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  };
  for (size_t i = 0; i + kKeyBytes < token.size(); i += kKeyBytes) mix(load8(token.data() + i));
  mix(load8(token.data() + token.size() - kKeyBytes));
  return hash;
}

uint64_t token_key(std::string_view token, const char* readable) {
  return token.size() <= kKeyBytes ? short_key(token, readable) : long_key(token);
}

size_t token_index(uint64_t key, int shift) { return key * kMultiplier >> shift; }
size_t pair_index(uint64_t pair, int shift) { return pair * kMultiplier >> shift; }
size_t byte_pair(const char* p) { return static_cast<unsigned char>(p[0]) << 8 | static_cast<unsigned char>(p[1]); }
size_t next_slot(size_t i, int shift) { return (i + 1) & (~uint64_t{0} >> shift); }

int shift_for(size_t count) { return 64 - std::countr_zero(std::bit_ceil(std::max<size_t>(count + count / 2, 16))); }

}  // namespace

inline bool Bpe::holds(Slot& slot, uint64_t key, std::string_view token) const {
  const uint32_t length = std::atomic_ref(slot.length).load(std::memory_order_relaxed) & kLengthMask;
  return slot.key == key && length == token.size() &&
         (length <= kKeyBytes || std::memcmp(bytes_.data() + starts_[slot.id], token.data(), length) == 0);
}

inline Bpe::Slot* Bpe::find(std::string_view token, uint64_t key) const {
  for (size_t i = token_index(key, slot_shift_);; i = next_slot(i, slot_shift_)) {
    if (holds(slots_[i], key, token)) return &slots_[i];
    if (std::atomic_ref(slots_[i].length).load(std::memory_order_relaxed) == 0) return nullptr;
  }
}

Bpe::Slot* Bpe::find(std::string_view token) const {
  return find(token, token_key(token, token.data() + token.size()));
}

inline uint64_t Bpe::merged(uint32_t left, uint32_t right) const {
  const uint64_t pair = uint64_t{left} << 32 | right;
  for (size_t i = pair_index(pair, pair_shift_);; i = next_slot(i, pair_shift_)) {
    const PairSlot& slot = pairs_[i];
    if (slot.pair == pair || slot.merged == kNoMerge) return slot.merged;
  }
}

Bpe::Bpe(const Vocabulary& vocabulary) : ignore_merges_(vocabulary.ignore_merges) {
  const size_t num_tokens = vocabulary.tokens.size(), num_merges = vocabulary.merges.size();
  slot_shift_ = shift_for(num_tokens);
  pair_shift_ = shift_for(num_merges);
  slots_ = std::make_unique<Slot[]>(size_t{1} << (64 - slot_shift_));
  pairs_ = std::make_unique_for_overwrite<PairSlot[]>(size_t{1} << (64 - pair_shift_));
  std::memset(pairs_.get(), 0xff, sizeof(PairSlot) << (64 - pair_shift_));

  byte_pairs_.assign(size_t{1} << 16, kNoMerge);
  size_t total = 0;
  for (const std::string_view token : vocabulary.tokens) total += token.size();
  // Neither the views that are hashed nor the offsets may move or overflow.
  if (total >= kLengthMask) fail_invalid("vocab: tokens of {} bytes in all are too many", total);
  bytes_.reserve(total + kKeyBytes);
  starts_.reserve(num_tokens + 1);
  starts_.push_back(0);
  add_tokens(vocabulary.tokens);

  for (unsigned byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    const Slot* slot = find({&text, 1});
    if (!slot) fail_invalid("vocab: no token for byte 0x{:02x}", byte);
    byte_token_[byte] = slot->id;
  }
  add_merges(vocabulary);
}

// An access to these tables is a cache miss, and loading makes half a million: they are made to overlap.
void Bpe::add_tokens(const std::vector<std::string_view>& tokens) {
  struct Entry {
    uint64_t key;
    uint32_t length;  // 0: not of the byte alphabet
  };
  std::vector<Entry> entries;
  entries.reserve(tokens.size());
  const auto given_twice = [](std::string_view text) { fail_invalid("vocab[\"{}\"]: given twice", printable(text)); };
  for (const std::string_view text : tokens) {
    const size_t start = bytes_.size();
    if (!text.empty() && append_token_bytes(bytes_, text)) {
      const std::string_view token = std::string_view(bytes_).substr(start);
      entries.push_back({token_key(token, token.data() + token.size()), static_cast<uint32_t>(token.size())});
    } else {
      if (find_invalid_utf8(text) != std::string_view::npos) fail_invalid("vocab[\"{}\"]: not UTF-8", printable(text));
      if (!foreign_.emplace(text, entries.size()).second) given_twice(text);
      entries.push_back({0, 0});
      bytes_ += text;
    }
    starts_.push_back(static_cast<uint32_t>(bytes_.size()));
  }
  constexpr size_t kAhead = 16;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (id + kAhead < tokens.size()) __builtin_prefetch(&slots_[token_index(entries[id + kAhead].key, slot_shift_)]);
    const auto [key, length] = entries[id];
    if (length == 0) continue;
    size_t i = token_index(key, slot_shift_);
    for (; slots_[i].length != 0; i = next_slot(i, slot_shift_))
      if (holds(slots_[i], key, token_bytes(static_cast<int32_t>(id)))) given_twice(tokens[id]);
    slots_[i] = {key, length, static_cast<uint32_t>(id)};
  }
}

void Bpe::add_merges(const Vocabulary& vocabulary) {
  struct Lookup {
    size_t begin = 0, middle = 0, end = 0;  // of both tokens in bytes
    bool possible = false;                  // both are of the byte alphabet
    uint64_t pair = 0, merged = kNoMerge;
  };
  constexpr size_t kTogether = 32;
  Lookup lookups[kTogether];
  std::string bytes;
  const auto prefetch = [&](std::string_view token) {
    const uint64_t key = token_key(token, token.data() + token.size());
    __builtin_prefetch(&slots_[token_index(key, slot_shift_)]);
  };
  uint32_t next_id = 0;
  for (size_t first = 0; first < vocabulary.merges.size(); first += kTogether) {
    const size_t count = std::min(kTogether, vocabulary.merges.size() - first);
    bytes.clear();
    for (size_t i = 0; i < count; ++i) {
      const auto& [left, right] = vocabulary.merges[first + i];
      Lookup& l = lookups[i] = {};
      l.begin = bytes.size();
      l.possible = append_token_bytes(bytes, left);
      l.middle = bytes.size();
      l.possible = l.possible && append_token_bytes(bytes, right) && l.begin < l.middle && l.middle < bytes.size();
      l.end = bytes.size();
      if (!l.possible) continue;
      prefetch(std::string_view(bytes).substr(l.begin, l.middle - l.begin));
      prefetch(std::string_view(bytes).substr(l.middle, l.end - l.middle));
    }
    for (size_t i = 0; i < count; ++i) {
      Lookup& l = lookups[i];
      if (!l.possible) continue;
      const std::string_view both = std::string_view(bytes).substr(l.begin, l.end - l.begin);
      const Slot* const left = find(both.substr(0, l.middle - l.begin));
      const Slot* const right = find(both.substr(l.middle - l.begin));
      if (!left || !right) continue;
      // Trained vocabularies number their tokens in the order of the merges that make them.
      if (!foreign_.empty() || next_id >= starts_.size() - 1 || token_bytes(static_cast<int32_t>(next_id)) != both) {
        const Slot* const joined = find(both);
        if (!joined) continue;
        next_id = joined->id;
      }
      l.pair = uint64_t{left->id} << 32 | right->id;
      l.merged = uint64_t{first + i} << 32 | next_id++;
      __builtin_prefetch(&pairs_[pair_index(l.pair, pair_shift_)]);
    }
    for (size_t i = 0; i < count; ++i) {
      const Lookup& l = lookups[i];
      if (l.merged != kNoMerge)
        add_pair(l.pair, l.merged);
      else
        check_foreign_merge(vocabulary.merges[first + i], first + i);
      if (l.possible && l.end - l.begin == 2) byte_pairs_[byte_pair(bytes.data() + l.begin)] = l.merged;
    }
  }
}

void Bpe::add_pair(uint64_t pair, uint64_t merged) {
  size_t i = pair_index(pair, pair_shift_);
  while (pairs_[i].merged != kNoMerge && pairs_[i].pair != pair) i = next_slot(i, pair_shift_);
  pairs_[i] = {pair, merged};  // of a merge given twice the last counts
}

// A token that is not of the byte alphabet takes part, so that no text ever asks for this merge; or the file is wrong.
void Bpe::check_foreign_merge(const std::pair<std::string_view, std::string_view>& merge, size_t rank) const {
  const std::string left(merge.first), right(merge.second);
  for (const std::string& token : {left, right, left + right})
    if (!token_id(token)) fail_invalid("merges[{}]: \"{}\" is not in the vocabulary", rank, printable(token));
}

std::optional<int32_t> Bpe::token_id(std::string_view token) const {
  std::string bytes;
  if (!token.empty() && append_token_bytes(bytes, token)) {
    if (const Slot* slot = find(bytes)) return static_cast<int32_t>(slot->id);
  } else if (const auto found = foreign_.find(std::string(token)); found != foreign_.end()) {
    return static_cast<int32_t>(found->second);
  }
  return std::nullopt;
}

bool RecentPieces::repeat(std::vector<int32_t>& ids, std::string_view piece, uint64_t key) const {
  if (slots_.empty()) return false;
  const Slot& slot = slots_[index(key)];
  if (slot.key != key || slot.piece != piece) return false;
  const size_t old_size = ids.size();
  ids.resize(old_size + slot.count);
  std::copy_n(ids.begin() + slot.begin, slot.count, ids.begin() + static_cast<ptrdiff_t>(old_size));
  return true;
}

void RecentPieces::remember(const std::vector<int32_t>& ids, size_t begin, std::string_view piece, uint64_t key) {
  if (slots_.empty() || ids.size() > UINT32_MAX) return;
  slots_[index(key)] = {key, piece, static_cast<uint32_t>(begin), static_cast<uint32_t>(ids.size() - begin)};
}

void Bpe::encode(std::vector<int32_t>& ids, std::string_view piece, const char* readable, RecentPieces& recent) const {
  if (piece.size() == 1) {
    ids.push_back(static_cast<int32_t>(byte_token_[static_cast<unsigned char>(piece[0])]));
    return;
  }
  const uint64_t key = token_key(piece, readable);
  if (Slot* slot = find(piece, key); slot && is_whole(*slot, piece)) {
    ids.push_back(static_cast<int32_t>(slot->id));
  } else if (!recent.repeat(ids, piece, key)) {
    const size_t begin = ids.size();
    merge(ids, piece);
    recent.remember(ids, begin, piece, key);
  }
}

bool Bpe::is_whole(Slot& slot, std::string_view piece) const {
  const std::atomic_ref state(slot.length);
  const uint32_t known = state.load(std::memory_order_relaxed);
  if (known & (kIsWhole | kIsNotWhole)) return known & kIsWhole;
  std::vector<int32_t> merged_ids;
  merge(merged_ids, piece);
  const bool whole = ignore_merges_ || merged_ids.size() == 1;
  state.store(known | (whole ? kIsWhole : kIsNotWhole), std::memory_order_relaxed);
  return whole;
}

void Bpe::merge(std::vector<int32_t>& ids, std::string_view piece) const {
  piece.size() <= kShortPiece ? merge_short(ids, piece) : merge_long(ids, piece);
}

void Bpe::merge_short(std::vector<int32_t>& ids, std::string_view piece) const {
  uint32_t tokens[kShortPiece];
  uint64_t pairs[kShortPiece];  // what merging tokens[i] and tokens[i + 1] gives
  size_t n = piece.size();
  for (size_t i = 0; i < n; ++i) tokens[i] = byte_token_[static_cast<unsigned char>(piece[i])];
  for (size_t i = 0; i + 1 < n; ++i) pairs[i] = byte_pairs_[byte_pair(piece.data() + i)];
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (pairs[i] < pairs[best]) best = i;
    if (pairs[best] == kNoMerge) break;
    tokens[best] = static_cast<uint32_t>(pairs[best]);
    --n;
    for (size_t i = best + 1; i < n; ++i) {
      tokens[i] = tokens[i + 1];
      pairs[i - 1] = pairs[i];
    }
    if (best > 0) pairs[best - 1] = merged(tokens[best - 1], tokens[best]);
    if (best + 1 < n) pairs[best] = merged(tokens[best], tokens[best + 1]);
  }
  for (size_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(tokens[i]));
}

void Bpe::merge_long(std::vector<int32_t>& ids, std::string_view piece) const {
  struct Symbol {
    uint64_t pair;  // what merging it and the next gives
    uint32_t token, previous, next;
  };
  constexpr uint32_t kNone = ~uint32_t{0};
  const uint32_t n = static_cast<uint32_t>(piece.size());
  std::vector<Symbol> symbols(n);
  std::vector<uint64_t> heap;  // rank and place of possible merges; outdated ones are skipped when they come up
  const auto enter = [&](uint32_t i) {
    Symbol& s = symbols[i];
    s.pair = s.next == kNone ? kNoMerge : merged(s.token, symbols[s.next].token);
    if (s.pair != kNoMerge) heap.push_back((s.pair >> 32) << 32 | i);
    return s.pair != kNoMerge;
  };
  for (uint32_t i = 0; i < n; ++i)
    symbols[i] = {kNoMerge, byte_token_[static_cast<unsigned char>(piece[i])], i - 1, i + 1 < n ? i + 1 : kNone};
  for (uint32_t i = 0; i < n; ++i) enter(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint32_t i = static_cast<uint32_t>(heap.back());
    const uint32_t rank = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    Symbol& left = symbols[i];
    if (left.pair == kNoMerge || left.pair >> 32 != rank) continue;
    Symbol& right = symbols[left.next];
    left.token = static_cast<uint32_t>(left.pair);
    left.next = right.next;
    right.pair = kNoMerge;
    if (left.next != kNone) symbols[left.next].previous = i;
    if (enter(i)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
    if (left.previous != kNone && enter(left.previous)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) ids.push_back(static_cast<int32_t>(symbols[i].token));
}

}  // namespace qwill
