// Who holds how much memory, by purpose. What a backend counts while it rehearses is what it will hold when it runs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qwill {

// Of a card's ops: memory of the host, locked. All other purposes of theirs are the card's.
inline constexpr std::string_view kPinnedPurpose = "pinned";

struct MemoryPool {
  std::string purpose;
  int64_t bytes = 0;
};

class MemoryLedger;

// What a piece of memory is for, and where it is counted.
struct MemoryPurpose {
  MemoryLedger& ledger;
  std::string_view name;  // a literal

  bool dry() const;
  void add(int64_t bytes) const;  // negative: given back
};

class MemoryLedger {
 public:
  // dry: memory is counted and not taken, and every address is nowhere().
  explicit MemoryLedger(bool dry) : dry_(dry) {}

  bool dry() const { return dry_; }
  static void* nowhere() { return reinterpret_cast<void*>(uintptr_t{4096}); }

  // Negative bytes: given back.
  void add(std::string_view purpose, int64_t bytes);
  // In the order in which purposes came up, those without bytes left out.
  std::vector<MemoryPool> pools() const;

 private:
  bool dry_;
  std::vector<MemoryPool> pools_;
};

inline bool MemoryPurpose::dry() const { return ledger.dry(); }
inline void MemoryPurpose::add(int64_t bytes) const { ledger.add(name, bytes); }

}  // namespace qwill
