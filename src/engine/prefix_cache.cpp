#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/error.h"

namespace qwill {
namespace {

struct Lexicographic {
  using is_transparent = void;
  bool operator()(std::span<const int32_t> a, std::span<const int32_t> b) const {
    return std::ranges::lexicographical_compare(a, b);
  }
};

size_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

struct PrefixCache::Node {
  PrefixKey key;
  Node* parent = nullptr;  // nullptr: a root
  std::vector<int32_t> tokens;
  int32_t page = 0;
  int32_t pins = 0;
  int64_t last_use = 0;
  std::map<std::vector<int32_t>, std::unique_ptr<Node>, Lexicographic> children;
};

PrefixCache::PrefixCache(PagePool& pool, int64_t page_size) : pool_(pool), page_size_(static_cast<size_t>(page_size)) {}

// Not by recursion: a tree is as deep as its longest sequence has pages.
PrefixCache::~PrefixCache() {
  std::vector<std::unique_ptr<Node>> nodes;
  for (auto& [key, root] : roots_) nodes.push_back(std::move(root));
  while (!nodes.empty()) {
    const std::unique_ptr<Node> node = std::move(nodes.back());
    nodes.pop_back();
    for (auto& [tokens, child] : node->children) nodes.push_back(std::move(child));
  }
}

int32_t PrefixCache::page_of(const Node* node) { return node->page; }

void PrefixCache::pin(Node* node) {
  if (node->pins++ > 0) return;
  --num_unpinned_;
  evictable_.erase({node->last_use, node});
}

void PrefixCache::unpin(Node* node) {
  CHECK(node->pins > 0, "a node is unpinned as often as it was pinned");
  if (--node->pins > 0) return;
  ++num_unpinned_;
  node->last_use = ++clock_;
  if (node->children.empty()) evictable_.insert({node->last_use, node});
}

PrefixCache::Match PrefixCache::match(const PrefixKey& key, std::span<const int32_t> tokens) {
  Match match;
  const auto root = roots_.find(key);
  if (root == roots_.end()) return match;
  for (Node* node = root->second.get();;) {
    const std::span<const int32_t> page = tokens.first(std::min(page_size_, tokens.size()));
    const auto next = node->children.lower_bound(page);
    if (page.size() == page_size_ && next != node->children.end() && std::ranges::equal(next->first, page)) {
      node = next->second.get();
      pin(node);
      match.nodes.push_back(node);
      tokens = tokens.subspan(page_size_);
      continue;
    }
    const auto consider = [&](Node* child) {
      const auto common = static_cast<int64_t>(common_prefix(child->tokens, page));
      if (common <= match.partial_tokens) return;
      match.partial_tokens = common;
      match.partial = child;
    };
    if (next != node->children.end()) consider(next->second.get());
    if (next != node->children.begin()) consider(std::prev(next)->second.get());
    if (match.partial) pin(match.partial);
    return match;
  }
}

PrefixCache::Node* PrefixCache::insert(const PrefixKey& key, Node* parent, std::span<const int32_t> tokens,
                                       int32_t page) {
  CHECK(!tokens.empty() && tokens.size() <= page_size_, "a page holds 1 to page_size tokens");
  if (!parent) {
    std::unique_ptr<Node>& root = roots_[key];
    if (!root) {
      root = std::make_unique<Node>();
      root->key = key;
    }
    parent = root.get();
  }
  const auto next = parent->children.lower_bound(tokens);
  // Known already, or the beginning of a page that is.
  if (next != parent->children.end() && common_prefix(next->first, tokens) == tokens.size()) {
    pool_.give_back(page);
    pin(next->second.get());
    return next->second.get();
  }
  Node* before = next == parent->children.begin() ? nullptr : std::prev(next)->second.get();
  auto owned = std::make_unique<Node>();
  Node* node = owned.get();
  node->key = key;
  node->parent = parent;
  node->tokens.assign(tokens.begin(), tokens.end());
  node->page = page;
  node->pins = 1;
  if (parent->pins == 0) evictable_.erase({parent->last_use, parent});
  parent->children.emplace(node->tokens, std::move(owned));
  ++num_pages_;
  // A beginning of this page is of no use any more.
  if (before && before->pins == 0 && common_prefix(before->tokens, tokens) == before->tokens.size()) remove(before);
  return node;
}

// Of a leaf without pins.
void PrefixCache::remove(Node* node) {
  evictable_.erase({node->last_use, node});
  pool_.give_back(node->page);
  --num_pages_;
  --num_unpinned_;
  Node* parent = node->parent;
  parent->children.erase(parent->children.find(node->tokens));
  if (!parent->children.empty()) return;
  if (!parent->parent)
    roots_.erase(parent->key);
  else if (parent->pins == 0)
    evictable_.insert({parent->last_use, parent});
}

std::vector<int32_t> PrefixCache::check() const {
  std::vector<int32_t> pages;
  std::vector<const Node*> rest;
  int64_t num_unpinned = 0;
  size_t num_evictable = 0;
  for (const auto& [key, root] : roots_) {
    CHECK(!root->parent && root->key == key && !root->children.empty(), "a root has a page behind it");
    rest.push_back(root.get());
  }
  while (!rest.empty()) {
    const Node* node = rest.back();
    rest.pop_back();
    for (const auto& [tokens, child] : node->children) {
      CHECK(child->parent == node && child->key == node->key && child->tokens == tokens, "children know their place");
      CHECK(!node->parent || node->tokens.size() == page_size_, "only full pages have children");
      CHECK(!node->parent || node->pins > 0 || child->pins == 0, "who is pinned has its ancestors pinned");
      rest.push_back(child.get());
    }
    if (!node->parent) continue;
    pages.push_back(node->page);
    if (node->pins > 0) continue;
    ++num_unpinned;
    if (!node->children.empty()) continue;
    ++num_evictable;
    CHECK(evictable_.contains({node->last_use, const_cast<Node*>(node)}), "leaves without pins can be evicted");
  }
  CHECK(num_unpinned == num_unpinned_ && num_evictable == evictable_.size() && std::ssize(pages) == num_pages_,
        "the counts are those of the tree");
  return pages;
}

bool PrefixCache::evict() {
  if (evictable_.empty()) return false;
  remove(evictable_.begin()->second);
  return true;
}

}  // namespace qwill
