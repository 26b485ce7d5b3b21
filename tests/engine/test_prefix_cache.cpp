// The prefix cache against a list that is searched from end to end.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>

#include "engine/prefix_cache.h"
#include "support/random.h"

namespace qwill {
namespace {

using test::Random;
using Ids = std::vector<int32_t>;

size_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

// A page that the cache should hold.
struct Entry {
  PrefixKey key;
  Ids tokens;  // from the beginning of the sequence to the end of the page
  int32_t page = 0;
  int pins = 0;
  int64_t last_use = 0;
};

// The cache, and beside it the list; both do everything.
class Pair {
 public:
  Pair(int64_t num_pages, int64_t page_size) : pool_(num_pages), cache_(pool_, page_size), page_size_(page_size) {}

  // Somebody who holds a beginning, as a sequence does.
  struct Holder {
    PrefixKey key;
    Ids tokens;
    std::vector<PrefixCache::Node*> nodes;
    std::vector<Entry*> entries;
    PrefixCache::Node* partial = nullptr;  // whose copy is to be made
    Entry* partial_entry = nullptr;
  };

  Holder begin(const PrefixKey& key, const Ids& tokens) {
    PrefixCache::Match match = cache_.match(key, tokens);
    Holder holder{key, tokens, match.nodes, {}};
    size_t matched = 0;
    while (matched + page_size() <= tokens.size()) {
      Entry* entry = find(key, std::span(tokens).first(matched + page_size()));
      if (!entry) break;
      ++entry->pins;
      holder.entries.push_back(entry);
      matched += page_size();
    }
    EXPECT_EQ(match.nodes.size(), holder.entries.size());
    for (size_t i = 0; i < match.nodes.size(); ++i)
      EXPECT_EQ(PrefixCache::page_of(match.nodes[i]), holder.entries[i]->page);
    size_t longest = matched;
    for (const Entry& entry : entries_)
      if (entry.key == key) longest = std::max(longest, common_prefix(entry.tokens, tokens));
    EXPECT_EQ(match.partial_tokens, static_cast<int64_t>(longest - matched));
    EXPECT_EQ(match.partial != nullptr, longest > matched);
    if (match.partial) {
      Entry& entry = *std::ranges::find(entries_, PrefixCache::page_of(match.partial), &Entry::page);
      EXPECT_EQ(common_prefix(entry.tokens, tokens), longest);
      ++entry.pins;
      holder.partial = match.partial;
      holder.partial_entry = &entry;
    }
    check();
    return holder;
  }

  // Shares the next page; false if there is none left, or no page for it.
  bool share(Holder& holder, bool also_partial) {
    const size_t first = holder.nodes.size() * page_size();
    if (first >= holder.tokens.size()) return false;
    const size_t count = std::min(page_size(), holder.tokens.size() - first);
    if (count < page_size() && !also_partial) return false;
    std::optional<int32_t> page = pool_.take();
    if (!page && evict()) page = pool_.take();
    if (!page) return false;
    PrefixCache::Node* parent = holder.nodes.empty() ? nullptr : holder.nodes.back();
    PrefixCache::Node* node = cache_.insert(holder.key, parent, std::span(holder.tokens).subspan(first, count), *page);
    const std::span<const int32_t> prefix = std::span(holder.tokens).first(first + count);
    Entry* entry = find(holder.key, prefix);
    if (entry) {  // the page goes back; where several go on behind these tokens, any will do
      EXPECT_NE(PrefixCache::page_of(node), *page);
      entry = &*std::ranges::find(entries_, PrefixCache::page_of(node), &Entry::page);
      EXPECT_EQ(common_prefix(entry->tokens, prefix), prefix.size());
    } else {
      // The neighbour before it is of no use any more if it is its beginning, and goes unless somebody holds it.
      Entry* before = nullptr;
      for (Entry& e : entries_)
        if (e.key == holder.key && e.tokens.size() > first && e.tokens.size() <= first + page_size() &&
            common_prefix(e.tokens, prefix) >= first && std::ranges::lexicographical_compare(e.tokens, prefix) &&
            (!before || before->tokens < e.tokens))
          before = &e;
      if (before && before->pins == 0 && common_prefix(before->tokens, prefix) == before->tokens.size()) remove(before);
      entry = &entries_.emplace_back(Entry{holder.key, {prefix.begin(), prefix.end()}, *page});
    }
    EXPECT_EQ(PrefixCache::page_of(node), entry->page);
    ++entry->pins;
    holder.nodes.push_back(node);
    holder.entries.push_back(entry);
    check();
    return true;
  }

  void copied(Holder& holder) {
    if (!holder.partial) return;
    cache_.unpin(holder.partial);
    if (--holder.partial_entry->pins == 0) holder.partial_entry->last_use = ++clock_;
    holder.partial = nullptr;
    check();
  }

  void let_go(Holder& holder) {
    copied(holder);
    for (; !holder.nodes.empty(); holder.nodes.pop_back(), holder.entries.pop_back()) {
      cache_.unpin(holder.nodes.back());
      if (--holder.entries.back()->pins == 0) holder.entries.back()->last_use = ++clock_;
    }
    check();
  }

  // The least recently used of those that nobody holds and on which no other rests.
  bool evict() {
    Entry* oldest = nullptr;
    for (Entry& entry : entries_)
      if (entry.pins == 0 && !has_children(entry) && (!oldest || entry.last_use < oldest->last_use)) oldest = &entry;
    const int64_t num_free = pool_.num_free();
    EXPECT_EQ(cache_.evict(), oldest != nullptr);
    if (!oldest) return false;
    EXPECT_EQ(pool_.num_free(), num_free + 1);
    EXPECT_EQ(pool_.free_pages().back(), oldest->page);
    remove(oldest);
    check();
    return true;
  }

  void check() {
    std::vector<int32_t> held = cache_.check(), expected;
    int64_t num_unpinned = 0;
    for (const Entry& entry : entries_) {
      expected.push_back(entry.page);
      num_unpinned += entry.pins == 0;
    }
    std::ranges::sort(held);
    std::ranges::sort(expected);
    EXPECT_EQ(held, expected);
    EXPECT_EQ(cache_.num_unpinned(), num_unpinned);
  }

 private:
  size_t page_size() const { return static_cast<size_t>(page_size_); }
  // The entry with these tokens, or that goes on behind them in the same page.
  Entry* find(const PrefixKey& key, std::span<const int32_t> tokens) {
    const size_t first = tokens.empty() ? 0 : (tokens.size() - 1) / page_size() * page_size();
    for (Entry& entry : entries_)
      if (entry.key == key && entry.tokens.size() >= tokens.size() && entry.tokens.size() <= first + page_size() &&
          common_prefix(entry.tokens, tokens) == tokens.size() && !tokens.empty())
        return &entry;
    return nullptr;
  }
  bool has_children(const Entry& parent) const {
    return std::ranges::any_of(entries_, [&](const Entry& e) {
      return e.key == parent.key && e.tokens.size() > parent.tokens.size() && parent.tokens.size() % page_size() == 0 &&
             common_prefix(e.tokens, parent.tokens) == parent.tokens.size();
    });
  }
  void remove(Entry* entry) {
    entries_.remove_if([&](const Entry& e) { return &e == entry; });
  }

  PagePool pool_;
  PrefixCache cache_;
  int64_t page_size_;
  std::list<Entry> entries_;
  int64_t clock_ = 0;
};

TEST(PrefixCache, DoesWhatAListDoes) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Random random(seed);
    const int64_t page_size = random.between(1, 5), num_pages = random.between(3, 30);
    Pair pair(num_pages, page_size);
    std::vector<Pair::Holder> holders;
    for (int i = 0; i < 300; ++i) {
      const auto any = [&]() -> Pair::Holder& {
        return holders[static_cast<size_t>(random.below(std::ssize(holders)))];
      };
      switch (random.below(holders.empty() ? 1 : 6)) {
        case 0: {
          const PrefixKey key{random.below(2) ? RopeKind::yarn : RopeKind::plain,
                              static_cast<int32_t>(random.below(2))};
          Ids tokens;
          for (int64_t k = random.between(0, 4 * page_size); k > 0; --k) tokens.push_back(random.below(4) == 0 ? 1 : 0);
          holders.push_back(pair.begin(key, tokens));
          if (random.below(2)) pair.copied(holders.back());
          break;
        }
        case 1:
        case 2: pair.share(any(), false); break;
        case 3:
        case 4: {  // one ends
          Pair::Holder& holder = any();
          while (pair.share(holder, true)) continue;
          pair.let_go(holder);
          std::swap(holder, holders.back());
          holders.pop_back();
          break;
        }
        case 5: pair.evict(); break;
      }
      if (HasFailure()) FAIL() << "seed " << seed << ", operation " << i;
    }
    for (Pair::Holder& holder : holders) pair.let_go(holder);
    while (pair.evict()) continue;
  }
}

// What is held by nobody goes in the order of its last use, the end of a sequence before its beginning.
TEST(PrefixCache, EvictsTheLeastRecentlyUsed) {
  PagePool pool(6);
  PrefixCache cache(pool, 2);
  const auto use = [&](const Ids& tokens) {
    std::vector<PrefixCache::Node*> nodes = cache.match({}, tokens).nodes;
    while (nodes.size() * 2 < tokens.size())
      nodes.push_back(cache.insert({}, nodes.empty() ? nullptr : nodes.back(),
                                   std::span(tokens).subspan(nodes.size() * 2, 2), *pool.take()));
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) cache.unpin(*node);
  };
  use({1, 1, 2, 2, 3, 3});  // pages 0, 1, 2
  use({1, 1, 4, 4});        // 0 and 3
  use({5, 5});              // 4
  use({1, 1, 2, 2});        // 0 and 1 again
  Ids evicted;
  while (cache.evict()) evicted.push_back(pool.free_pages().back());
  EXPECT_EQ(evicted, (Ids{2, 3, 4, 1, 0}));
  EXPECT_EQ(pool.num_free(), 6);
}

}  // namespace
}  // namespace qwill
