#include "engine/scheduler.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace qwill {
namespace {

// A step's budget of rows for prompts of which so many are missing, in order, and which can take at most so many now.
// Half of it goes to them in this order, what is left to the shortest rest first (equal ones in order).
std::vector<int64_t> divide(int64_t budget, const std::vector<int64_t>& missing, const std::vector<int64_t>& most) {
  std::vector<int64_t> counts(missing.size(), 0);
  const auto give = [&](size_t i, int64_t& rows) {
    const int64_t count = std::min(most[i] - counts[i], rows);
    counts[i] += count;
    rows -= count;
  };
  int64_t in_order = budget - budget / 2;
  for (size_t i = 0; i < missing.size(); ++i) give(i, in_order);
  std::vector<size_t> shortest(missing.size());
  std::iota(shortest.begin(), shortest.end(), size_t{0});
  std::ranges::stable_sort(shortest, {}, [&](size_t i) { return missing[i] - counts[i]; });
  int64_t left = budget / 2 + in_order;
  for (const size_t i : shortest) give(i, left);
  return counts;
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits), pool_(limits.num_pages), cache_(std::make_unique<PrefixCache>(pool_, limits.page_size)) {
  CHECK(limits.chunk_size > 0 && limits.mixed_chunk_size > 0 && limits.max_given_rows > 0 && limits.max_sequences > 0 &&
            limits.page_size > 0,
        "limits are positive");
}

void Scheduler::add(Ptr sequence) {
  CHECK(pages_for(sequence->max_len) <= limits_.num_pages, "a sequence fits all pages together");
  if (sequence->deadline) deadlines_.emplace(*sequence->deadline, sequence->id);
  sequences_.emplace(sequence->id, sequence);
  waiting_.insert(std::move(sequence));
}

void Scheduler::cancel(int64_t id) {
  if (sequences_.contains(id)) cancelled_.push_back(id);
}

// --- ends ---

void Scheduler::end(const Ptr& sequence, TokenEvent event, std::vector<TokenEvent>& events) {
  if (sequence->state == Sequence::State::waiting)
    waiting_.erase(sequence);
  else
    running_.erase(std::ranges::lower_bound(running_, sequence, InOrder()));
  sequence->state = Sequence::State::ended;
  release_pages(*sequence);
  if (sequence->deadline) deadlines_.erase({*sequence->deadline, sequence->id});
  sequences_.erase(sequence->id);
  ++stats_.finished;
  events.push_back(std::move(event));
}

void Scheduler::end_early(Time now, std::vector<TokenEvent>& events) {
  const auto end_with = [&](int64_t id, FinishReason reason) {
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) return;
    const Ptr sequence = found->second;
    end(sequence, {.sequence = id, .draw = {}, .finish = reason}, events);
  };
  for (const int64_t id : std::exchange(cancelled_, {})) end_with(id, FinishReason::cancelled);
  while (!deadlines_.empty() && deadlines_.begin()->first <= now)
    end_with(deadlines_.begin()->second, FinishReason::deadline);
}

void Scheduler::fail_all(std::vector<TokenEvent>& events) {
  std::vector<int64_t> ids;
  for (const auto& [id, sequence] : sequences_) ids.push_back(id);
  std::ranges::sort(ids);
  for (const int64_t id : ids) {
    const Ptr sequence = sequences_.at(id);
    end(sequence, {.sequence = id, .draw = {}, .finish = FinishReason::failed}, events);
  }
  while (cache_->evict()) continue;  // no page holds anything that can be trusted
  cancelled_.clear();
}

// --- pages ---

// Takes pages for the first num_pages of the sequence; what it got it keeps, also where they were too few.
bool Scheduler::extend(Sequence& sequence, int64_t num_pages) {
  while (static_cast<int64_t>(sequence.pages.size()) < num_pages) {
    std::optional<int32_t> page = pool_.take();
    if (!page && cache_->evict()) page = pool_.take();
    if (!page) return false;
    sequence.pages.push_back(*page);
  }
  return true;
}

// If need be with those of sequences behind it in order, the last first.
bool Scheduler::extend_by_preemption(Sequence& sequence, int64_t num_pages) {
  while (!extend(sequence, num_pages)) {
    if (running_.back().get() == &sequence) return false;
    preempt_last();
  }
  return true;
}

void Scheduler::preempt_last() {
  const Ptr last = running_.back();
  running_.pop_back();
  last->state = Sequence::State::waiting;
  release_pages(*last);
  waiting_.insert(last);
  ++stats_.preempted;
}

// Pages that are full of known tokens become known to others.
void Scheduler::share_pages(Sequence& sequence, bool also_partial) {
  if (!limits_.prefix_cache) return;
  const int64_t stored = std::min(sequence.num_cached, sequence.size());
  for (;;) {
    const size_t i = sequence.nodes.size();
    const int64_t first = static_cast<int64_t>(i) * limits_.page_size;
    const int64_t count = std::min(limits_.page_size, stored - first);
    if (count <= 0 || (count < limits_.page_size && !also_partial)) return;
    const auto page_tokens = std::span(sequence.tokens).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    PrefixCache::Node* parent = i == 0 ? nullptr : sequence.nodes.back();
    PrefixCache::Node* node = cache_->insert(sequence.prefix, parent, page_tokens, sequence.pages[i]);
    sequence.nodes.push_back(node);
    sequence.pages[i] = PrefixCache::page_of(node);
  }
}

void Scheduler::release_pages(Sequence& sequence) {
  share_pages(sequence, /*also_partial=*/true);
  for (size_t i = sequence.nodes.size(); i < sequence.pages.size(); ++i) pool_.give_back(sequence.pages[i]);
  // The end of a sequence is the least likely to be asked for again: it counts as used before its beginning.
  while (!sequence.nodes.empty()) {
    cache_->unpin(sequence.nodes.back());
    sequence.nodes.pop_back();
  }
  sequence.pages.clear();
  sequence.num_cached = 0;
}

std::vector<int32_t> Scheduler::lend(int64_t count) {
  Sequence borrower;
  extend(borrower, count);
  num_lent_ += static_cast<int64_t>(borrower.pages.size());
  return borrower.pages;
}

void Scheduler::give_back(const std::vector<int32_t>& pages) {
  for (auto page = pages.rbegin(); page != pages.rend(); ++page) pool_.give_back(*page);
  num_lent_ -= static_cast<int64_t>(pages.size());
}

// --- admission ---

// Pages that a sequence needs for what it knows, or with `reserve` for all that it may become.
int64_t Scheduler::wanted_pages(const Sequence& sequence) const {
  return pages_for(limits_.reserve ? sequence.max_len : sequence.size());
}

// What it lacks of them, of which it has or will find `held`, and one page for its growth, if it grows that far.
int64_t Scheduler::lacking_pages(const Sequence& sequence, int64_t held) const {
  const int64_t wanted = wanted_pages(sequence), growth = std::min<int64_t>(1, pages_for(sequence.max_len) - wanted);
  return std::max<int64_t>(0, wanted - held) + growth;
}

// Pages of its beginning that a sequence before it in order shares and is about to compute; 0: none does. Those that
// score their prompt are slow: nobody waits for them.
int64_t Scheduler::pages_cached_soon(const Sequence& sequence) const {
  int64_t most = 0;
  if (!limits_.prefix_cache) return most;
  for (const Ptr& other : running_) {
    if (!other->before(sequence)) break;
    const auto num_shared = std::ssize(other->nodes);
    const int64_t limit = std::min(other->size(), sequence.first_wanted()) / limits_.page_size;
    if (other->prefix != sequence.prefix || other->num_unscored() > 0 || num_shared >= limit) continue;
    // Most differ in the page that comes next, and there they differ in any token.
    const auto next_end = static_cast<size_t>((num_shared + 1) * limits_.page_size - 1);
    if (other->tokens[next_end] != sequence.tokens[next_end]) continue;
    const auto agrees = [&](int64_t page) {
      const auto first = page * limits_.page_size, last = first + limits_.page_size;
      return std::equal(sequence.tokens.begin() + first, sequence.tokens.begin() + last, other->tokens.begin() + first);
    };
    int64_t common = 0;
    while (common < limit && agrees(common)) ++common;
    if (common > num_shared) most = std::max(most, common);
  }
  return most;
}

void Scheduler::begin(const Ptr& sequence, PrefixCache::Match match, Step& step) {
  Sequence& s = *sequence;
  s.state = Sequence::State::running;
  s.nodes = std::move(match.nodes);
  for (const PrefixCache::Node* node : s.nodes) s.pages.push_back(PrefixCache::page_of(node));
  s.num_cached = static_cast<int64_t>(s.nodes.size()) * limits_.page_size;
  if (match.partial && extend(s, static_cast<int64_t>(s.pages.size()) + 1)) {
    step.copies.push_back(
        {PrefixCache::page_of(match.partial), s.pages.back(), static_cast<int32_t>(match.partial_tokens)});
    s.num_cached += match.partial_tokens;
  }
  s.begin_len = s.size();
  stats_.prompt_tokens += s.begin_len;
  stats_.prefix_hit_tokens += s.num_cached;
  running_.insert(std::ranges::lower_bound(running_, sequence, InOrder()), sequence);
}

void Scheduler::admit(Step& step) {
  constexpr int64_t kMostPassed = 64;  // so that a step costs little, however many wait
  if (waiting_.empty()) return;
  const auto lacks = [&](const Ptr& s) { return lacking_pages(*s, std::ssize(s->pages)); };
  int64_t num_passed = 0;      // those passed keep their places
  int64_t promised_pages = 0;  // to those that run, and those passed
  for (const Ptr& s : running_) promised_pages += lacks(s);
  std::vector<PrefixCache::Node*> copied;  // must not be evicted before the copy is made
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    const Ptr sequence = *next;
    ++next;
    if (sequence->is_drawing()) break;  // preempted a moment ago, its last token is on its way: it is still the next
    const auto may_preempt = [&] {
      return !limits_.reserve && !running_.empty() && running_.back()->priority > sequence->priority;
    };
    const auto is_full = [&] { return static_cast<int64_t>(running_.size()) + num_passed >= limits_.max_sequences; };
    if (is_full() && !may_preempt()) break;
    if (const int64_t soon = pages_cached_soon(*sequence); soon > 0) {
      promised_pages += lacking_pages(*sequence, soon);
      if (++num_passed == kMostPassed) break;
      continue;
    }
    PrefixCache::Match match;
    if (limits_.prefix_cache)
      match = cache_->match(sequence->prefix,
                            std::span(sequence->tokens).first(static_cast<size_t>(sequence->first_wanted())));
    const auto matched_pages = static_cast<int64_t>(match.nodes.size());
    const auto has_room = [&] {
      return wanted_pages(*sequence) - matched_pages + promised_pages <= num_available_pages();
    };
    const auto forget_partial = [&] {
      if (match.partial) cache_->unpin(std::exchange(match.partial, nullptr));
    };
    if (!has_room()) forget_partial();  // its page counts
    while (may_preempt() && (is_full() || !has_room())) {
      promised_pages -= lacks(running_.back());
      preempt_last();
    }
    if (is_full() || !has_room()) {
      forget_partial();
      for (auto node = match.nodes.rbegin(); node != match.nodes.rend(); ++node) cache_->unpin(*node);
      break;  // those behind it must not take the pages that it waits for
    }
    waiting_.erase(sequence);
    if (match.partial) copied.push_back(match.partial);
    begin(sequence, std::move(match), step);
    promised_pages += lacks(sequence);
    next = waiting_.upper_bound(sequence);
  }
  for (PrefixCache::Node* node : copied) cache_->unpin(node);
}

// --- steps ---

void Scheduler::add_rows(const Ptr& sequence, int64_t count, Step& step) {
  Sequence& s = *sequence;
  Scheduled rows{.sequence = sequence, .first = s.num_cached, .count = count, .draw_source = s.draw_row};
  stats_.computed_prompt_tokens += std::clamp<int64_t>(s.begin_len - s.num_cached, 0, count);
  s.num_cached += count;
  if (s.num_unscored() > 0) {
    rows.first_given = s.num_scored;
    rows.num_given = std::clamp<int64_t>(s.num_cached - s.num_scored, 0, s.num_unscored());
    s.num_scored += rows.num_given;
    step.num_draws += rows.num_given;
  }
  rows.draws = s.num_cached == s.size() + (s.is_drawing() ? 1 : 0);
  s.draw_row = rows.draws ? static_cast<int32_t>(step.num_draws++) : -1;
  step.rows.push_back(std::move(rows));
}

// As many of `count` rows as there are pages for.
void Scheduler::add_prompt_rows(const Ptr& sequence, int64_t count, Step& step) {
  if (count == 0) return;
  extend(*sequence, pages_for(sequence->num_cached + count));
  const int64_t room = static_cast<int64_t>(sequence->pages.size()) * limits_.page_size - sequence->num_cached;
  if (std::min(count, room) > 0) add_rows(sequence, std::min(count, room), step);
}

Step Scheduler::schedule(Time now, std::vector<TokenEvent>& events) {
  Step step;
  end_early(now, events);
  for (const Ptr& sequence : running_) share_pages(*sequence, /*also_partial=*/false);
  admit(step);

  const auto missing = [](const Sequence& s) { return s.size() + (s.is_drawing() ? 1 : 0) - s.num_cached; };
  const auto decodes = [&](const Sequence& s) {
    return missing(s) == 1 && !(s.is_drawing() && s.size() + 1 >= s.max_len);
  };
  const int64_t num_decodes = std::ranges::count_if(running_, [&](const Ptr& s) { return decodes(*s); });
  int64_t budget = num_decodes > 0 ? limits_.mixed_chunk_size : limits_.chunk_size;
  const int64_t beyond_tiles = (num_decodes + budget) % limits_.row_tile;
  if (num_decodes > 0 && beyond_tiles <= budget / 2) budget -= beyond_tiles;

  std::vector<Ptr> prompts;
  for (size_t i = 0; i < running_.size(); ++i) {
    const Ptr sequence = running_[i];
    const int64_t next_page = pages_for(sequence->num_cached + 1);
    if (missing(*sequence) > 1) {
      if (prompts.empty()) extend_by_preemption(*sequence, next_page);
      prompts.push_back(sequence);
    } else if (decodes(*sequence)) {
      if (extend_by_preemption(*sequence, next_page))
        add_rows(sequence, 1, step);
      else
        preempt_last();  // itself: it waits for pages with empty hands
    }
  }
  std::erase_if(prompts, [](const Ptr& s) { return s->state != Sequence::State::running; });

  std::vector<int64_t> rests, unscored;
  for (const Ptr& s : prompts) {
    rests.push_back(missing(*s));
    unscored.push_back(s->num_unscored());
  }
  const std::vector<int64_t> given = divide(limits_.max_given_rows, unscored, unscored);
  std::vector<int64_t> most = rests;
  for (size_t i = 0; i < prompts.size(); ++i)
    if (given[i] < unscored[i]) most[i] = prompts[i]->num_scored - prompts[i]->num_cached + given[i];
  const std::vector<int64_t> counts = divide(budget, rests, most);
  for (size_t i = 0; i < prompts.size(); ++i) add_prompt_rows(prompts[i], counts[i], step);
  return step;
}

void Scheduler::commit(const Step& step, std::vector<Draw> draws, std::vector<TokenEvent>& events) {
  CHECK(static_cast<int64_t>(draws.size()) == step.num_draws, "one draw for each row that draws or is given");
  ++stats_.steps;
  auto draw = draws.begin();
  for (const Scheduled& rows : step.rows) {
    if (!rows.draws && rows.num_given == 0) continue;
    Sequence& s = *rows.sequence;
    const auto given = draw;
    draw += rows.num_given + (rows.draws ? 1 : 0);
    if (s.state == Sequence::State::ended) continue;
    TokenEvent event{.sequence = s.id, .draw = {}, .finish = {}};
    event.prompt.assign(std::move_iterator(given), std::move_iterator(given + rows.num_given));
    if (!rows.draws) {
      events.push_back(std::move(event));
      continue;
    }
    Draw& drawn = given[rows.num_given];
    if (drawn.stops) {
      event.stop_token = std::move(drawn);
      event.finish = FinishReason::stop;
    } else {
      s.tokens.push_back(drawn.id);
      ++stats_.output_tokens;
      event.draw = std::move(drawn);
      if (s.size() >= s.max_len) event.finish = FinishReason::length;
    }
    // A step scheduled since may have taken this draw on the device, and be drawing the next.
    if (s.num_cached < s.size() || event.finish) s.draw_row = -1;
    if (event.finish)
      end(rows.sequence, std::move(event), events);
    else
      events.push_back(std::move(event));
  }
}

EngineStats Scheduler::stats() const {
  EngineStats stats = stats_;
  stats.running = static_cast<int64_t>(running_.size());
  stats.waiting = static_cast<int64_t>(waiting_.size());
  stats.num_pages = limits_.num_pages;
  stats.free_pages = pool_.num_free();
  stats.cached_pages = cache_->num_unpinned();
  return stats;
}

void Scheduler::check_pages() const {
  CHECK(std::ranges::is_sorted(running_, InOrder()), "running sequences are in order");
  CHECK(static_cast<int64_t>(running_.size()) <= limits_.max_sequences, "not more run than may");
  CHECK(sequences_.size() == running_.size() + waiting_.size(), "a sequence waits or runs");
  CHECK(std::ranges::all_of(deadlines_, [&](const auto& d) { return sequences_.contains(d.second); }),
        "deadlines are of sequences that wait or run");
  std::vector<int> owners(static_cast<size_t>(limits_.num_pages), 0);
  int64_t num_owned = num_lent_;
  const auto own = [&](int32_t page) {
    ++num_owned;
    CHECK(++owners.at(static_cast<size_t>(page)) == 1, "a page has one owner");
  };
  for (const int32_t page : pool_.free_pages()) own(page);
  for (const int32_t page : cache_->check()) own(page);
  for (const Ptr& s : running_) {
    CHECK(s->state == Sequence::State::running, "running sequences know it");
    CHECK(s->nodes.size() <= s->pages.size(), "shared pages come first");
    CHECK(static_cast<int64_t>(s->pages.size()) >= pages_for(s->num_cached), "what is stored has pages");
    CHECK(s->num_unscored() == 0 || s->num_cached <= s->num_scored, "what is to be scored is not stored yet");
    for (size_t i = 0; i < s->nodes.size(); ++i)
      CHECK(s->pages[i] == PrefixCache::page_of(s->nodes[i]), "shared pages are the cache's");
    for (size_t i = s->nodes.size(); i < s->pages.size(); ++i) own(s->pages[i]);
  }
  for (const Ptr& s : waiting_)
    CHECK(s->state == Sequence::State::waiting && s->pages.empty() && s->nodes.empty() && s->num_cached == 0,
          "waiting sequences hold nothing");
  CHECK(num_owned == limits_.num_pages, "every page has an owner");
}

}  // namespace qwill
