// Pages whose keys and values are known by the tokens they stand for: a sequence that begins with the same tokens takes
// them instead of computing them again. What a row's keys and values are depends on the tokens up to it and on nothing
// else, to the bit, so a hit changes no result.
//
// A radix tree whose edges are pages: a node holds one page and the tokens in it, behind those of its ancestors. Its
// children lie in lexicographic order, so that the child which agrees longest with given tokens is a neighbour of their
// place. Only full pages have children. A page that agrees in part is of use too: it is copied, and the copy goes on.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "engine/page_pool.h"
#include "ops/batch.h"

namespace qwill {

// Prefixes are shared only within one of these.
struct PrefixKey {
  RopeKind rope = RopeKind::plain;
  int32_t cache_namespace = 0;
  auto operator<=>(const PrefixKey&) const = default;
};

class PrefixCache {
 public:
  struct Node;

  PrefixCache(PagePool& pool, int64_t page_size);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // The longest known beginning of `tokens`, all its nodes pinned: whole pages, and of one page more `partial_tokens`
  // entries.
  struct Match {
    std::vector<Node*> nodes;
    Node* partial = nullptr;
    int64_t partial_tokens = 0;
  };
  Match match(const PrefixKey& key, std::span<const int32_t> tokens);

  // The cache takes over a page whose first entries are those of `tokens` (at most page_size), behind `parent`'s
  // (nullptr: a sequence's first page). Returns its node, pinned. If one with these tokens exists already, that one is
  // returned and the page goes back to the pool.
  Node* insert(const PrefixKey& key, Node* parent, std::span<const int32_t> tokens, int32_t page);

  // A node may be evicted once no pin is left on it. Whoever pins a node has its ancestors pinned as well.
  void unpin(Node* node);
  static int32_t page_of(const Node* node);

  // Returns the least recently used page that is pinned by nobody to the pool; false if there is none.
  bool evict();
  // Pages held, and how many of them evict can return.
  int64_t num_pages() const { return num_pages_; }
  int64_t num_unpinned() const { return num_unpinned_; }

  // CHECKs the tree and every count, and returns the pages held. For tests: it looks at everything.
  std::vector<int32_t> check() const;

 private:
  void pin(Node* node);
  void remove(Node* node);

  PagePool& pool_;
  size_t page_size_;
  std::map<PrefixKey, std::unique_ptr<Node>> roots_;  // have no page
  std::set<std::pair<int64_t, Node*>> evictable_;     // leaves without pins, by last use
  int64_t clock_ = 0;
  int64_t num_pages_ = 0, num_unpinned_ = 0;
};

}  // namespace qwill
