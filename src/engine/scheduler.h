// Which rows run in the next step: knows sequences and pages, no tensors and no device.
//
// Sequences are served in the order of priority, then arrival. A step holds one row of each sequence that decodes, and
// rows of prompts within a budget B (chunk_size; while others decode, at least half of mixed_chunk_size). Half of it
// goes to the unfinished prompts in order; the other half to the shortest rest first, so that a short prompt does not
// wait for the long ones before it. Hence no prompt waits for ever: from the step on from which it and those before it
// get the pages they ask for, a prompt is done after at most 2 R / B steps, rounded up, R being the unfinished prompt
// rows of all of them.
//
// Where the log-probabilities of a prompt are wanted, each of its rows but the last has logits, and a draw whose token
// is given. That is much work for one row: a step holds at most G (max_given_rows) of these, divided between such
// prompts as the budget is, and what that leaves of the budget is for others. Such a prompt takes 2 S / G steps more,
// rounded up, S being those of the R rows that are to be scored; other prompts take no more than they did.
//
// Pages are taken when they are needed. A sequence that finds none takes those of the last in order, which begins again
// later (what the prefix cache still holds, it need not compute again): the first in order always advances, so all end.
// With `reserve` a sequence begins only when its longest possible length has its pages; then none ever begins again,
// and a higher priority means no more than to be the next to begin.
//
// Steps may overlap: schedule may be called once more before the step before is committed. What that step draws is
// then still on the device, and rows that follow it take their token from there.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "engine/page_pool.h"
#include "engine/prefix_cache.h"
#include "engine/sequence.h"
#include "ops/paged_kv.h"
#include "qwill/engine.h"

namespace qwill {

struct SchedulerLimits {
  int64_t num_pages = 0;
  int64_t page_size = 64;
  int64_t chunk_size = 512;        // prompt rows of a step
  int64_t mixed_chunk_size = 512;  // of a step that decodes as well; fewer, down to half, if all its rows then are a
                                   // multiple of row_tile
  int64_t row_tile = 1;
  int64_t max_given_rows = 64;  // of a step, all prompts together
  int64_t max_sequences = 1;    // that run at once
  bool reserve = false;
  bool prefix_cache = true;
};

// A sequence's rows in a step.
struct Scheduled {
  std::shared_ptr<Sequence> sequence;
  int64_t first = 0;  // position
  int64_t count = 0;
  int64_t first_given = 0;   // position: of the rows that tell the log-probability of the prompt's next token
  int64_t num_given = 0;     // they come before its own in the order of draws
  bool draws = false;        // the rows reach the end of what is known
  int32_t draw_source = -1;  // row of the last step's draws that gives the (only) row's token; -1: it is known
};

struct Step {
  std::vector<Scheduled> rows;
  std::vector<PageCopy> copies;
  int64_t num_draws = 0;  // those that are given included
  bool empty() const { return rows.empty(); }
};

class Scheduler {
 public:
  using Time = Request::Clock::time_point;

  explicit Scheduler(const SchedulerLimits& limits);

  // The sequence waits; max_len has room in all pages together.
  void add(std::shared_ptr<Sequence> sequence);
  // It ends in the next schedule. Unknown and ended ones are ignored.
  void cancel(int64_t id);

  // Sequences that end without a step of their own (cancelled, or past their deadline) are told in `events`.
  Step schedule(Time now, std::vector<TokenEvent>& events);
  // What a step drew, in the order of its rows that draw or are given. Steps are committed in the order in which they
  // were scheduled.
  void commit(const Step& step, std::vector<Draw> draws, std::vector<TokenEvent>& events);
  // Every sequence ends with FinishReason::failed, and nothing is remembered.
  void fail_all(std::vector<TokenEvent>& events);

  bool idle() const { return sequences_.empty(); }
  // Pages for somebody else, who gives them back; fewer than `count` if there are no more.
  std::vector<int32_t> lend(int64_t count);
  void give_back(const std::vector<int32_t>& pages);

  int64_t num_free_pages() const { return pool_.num_free(); }
  // Pages that no sequence uses: free, or of cached prefixes.
  int64_t num_available_pages() const { return pool_.num_free() + cache_->num_unpinned(); }
  EngineStats stats() const;

  // CHECKs that every page has one owner and every count is right. For tests: it looks at everything.
  void check_pages() const;

 private:
  using Ptr = std::shared_ptr<Sequence>;
  struct InOrder {
    bool operator()(const Ptr& a, const Ptr& b) const { return a->before(*b); }
  };

  int64_t pages_for(int64_t tokens) const { return qwill::pages_for(tokens, limits_.page_size); }
  void end_early(Time now, std::vector<TokenEvent>& events);
  void end(const Ptr& sequence, TokenEvent event, std::vector<TokenEvent>& events);

  void admit(Step& step);
  int64_t wanted_pages(const Sequence& sequence) const;
  int64_t lacking_pages(const Sequence& sequence, int64_t held) const;
  int64_t pages_cached_soon(const Sequence& sequence) const;
  void begin(const Ptr& sequence, PrefixCache::Match match, Step& step);
  void preempt_last();

  bool extend(Sequence& sequence, int64_t num_pages);
  bool extend_by_preemption(Sequence& sequence, int64_t num_pages);
  void add_rows(const Ptr& sequence, int64_t count, Step& step);
  void add_prompt_rows(const Ptr& sequence, int64_t count, Step& step);

  void share_pages(Sequence& sequence, bool also_partial);
  void release_pages(Sequence& sequence);

  SchedulerLimits limits_;
  PagePool pool_;
  std::unique_ptr<PrefixCache> cache_;
  std::unordered_map<int64_t, Ptr> sequences_;  // waiting and running
  std::set<Ptr, InOrder> waiting_;
  std::vector<Ptr> running_;  // in order
  std::set<std::pair<Time, int64_t>> deadlines_;
  std::vector<int64_t> cancelled_;
  int64_t num_lent_ = 0;
  EngineStats stats_;
};

}  // namespace qwill
