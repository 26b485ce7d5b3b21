#include "model/random_steps.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/batch_builder.h"
#include "engine/page_pool.h"

namespace qwill::test {
namespace {

bool is_finite(const std::vector<float>& row) {
  return std::ranges::all_of(row, [](float value) { return std::isfinite(value); });
}

class Player {
 public:
  Player(Ops& ops, const Model& model, const RandomModel& shape, const PlayLimits& limits, uint64_t seed)
      : ops_(ops),
        model_(model),
        shape_(shape),
        random_(seed),
        vocab_(shape.config.vocab_size),
        poisoned_(limits.poisoned) {
    lengths_ = random_lengths(limits.tokens);
    max_live_ = one_in(3) ? random_.between(1, std::ssize(lengths_)) : std::ssize(lengths_);
    begins_ = one_in(2) ? 1 : random_.between(2, 60);
    chunk_ = random_.below(2) == 0 ? random_.between(1, 20) : random_.between(1, 700);
    int64_t longest = 0, all = 0;
    for (const int64_t length : lengths_) {
      longest = std::max(longest, pages_for(length, shape.page_size));
      all += pages_for(length, shape.page_size);
    }
    // So few pages that most are used again, or enough for all.
    num_pages_ = one_in(2) ? longest + random_.between(0, all / 2) : all + random_.between(0, 2);
    uses_.assign(static_cast<size_t>(num_pages_), 0);
    free_.resize(static_cast<size_t>(num_pages_));
    std::iota(free_.begin(), free_.end(), 0);
    random_.shuffle(free_);
  }

  Play run() {
    kv_ = make_cache(ops_, shape_, shape_.cache, num_pages_);
    while ((begun_ < lengths_.size() || !live_.empty()) && play_.complaints.size() < 5) {
      admit();
      take_step();
    }
    if (pending_) ops_.take_draws();
    ops_.free_kv(kv_);
    return std::move(play_);
  }

 private:
  struct Live {
    size_t index;       // of the played sequence
    Sequence sequence;  // tokens as far as known, pages, how far it is computed
    int64_t length;
    int32_t draw_row = -1;  // of the draws that are on their way
    bool stops = false;     // with that draw

    int64_t left() const { return sequence.size() - sequence.num_cached; }
  };
  // A sequence's part of a step.
  struct Part {
    Live* live;
    int64_t first, count;
    int64_t first_logit = 0, num_logits = 0;  // rows of the result
    bool has_ended = false;
  };

  bool one_in(int64_t n) { return random_.below(n) == 0; }

  std::vector<int64_t> random_lengths(int64_t work) {
    constexpr int64_t kCounts[] = {1, 2, 3, 7, 8, 9, 16, 17, 33, 64, 65, 130};
    constexpr int64_t kBorders[] = {1, 2, 63, 64, 65, 127, 128, 129, 255, 257, 1023, 1024, 1025, 1153};
    const int64_t count = std::min(kCounts[random_.below(std::ssize(kCounts))], std::max<int64_t>(1, work / 8));
    std::vector<int64_t> lengths;
    int64_t left = work;
    for (int64_t i = 0; i < count && left > 0; ++i) {
      const int64_t most = std::max<int64_t>(1, std::min(left, 2 * work / count));
      int64_t length = random_.between(1, most);
      if (one_in(2))
        if (const int64_t border = kBorders[random_.below(std::ssize(kBorders))]; border <= most) length = border;
      lengths.push_back(length);
      left -= length;
    }
    return lengths;
  }

  int32_t random_token(bool poison) {
    return static_cast<int32_t>(poison && one_in(4) ? vocab_ - 1 : random_.below(vocab_ - 1));
  }

  // ---- Pages

  int32_t take_page() {
    const int32_t page = free_.back();
    free_.pop_back();
    uses_[static_cast<size_t>(page)] = 1;
    return page;
  }
  void release(Sequence& sequence) {
    for (const int32_t page : sequence.pages)
      if (--uses_[static_cast<size_t>(page)] == 0) free_.push_back(page);
    random_.shuffle(free_);
    sequence.pages.clear();
    sequence.num_cached = 0;
  }
  int64_t pages_of(int64_t tokens) const { return pages_for(tokens, shape_.page_size); }
  // That those which run may still want.
  int64_t promised() const {
    int64_t count = 0;
    for (const Live& live : live_) count += pages_of(live.length) - std::ssize(live.sequence.pages);
    return count;
  }

  // ---- Sequences

  void admit() {
    while (begun_ < lengths_.size() && std::ssize(live_) < max_live_) {
      if (!live_.empty() && !one_in(begins_)) return;
      const int64_t length = lengths_[begun_];
      if (promised() + pages_of(length) > std::ssize(free_)) return;
      begin(length);
    }
  }

  void begin(int64_t length) {
    Live live{.index = play_.sequences.size(), .sequence = {}, .length = length};
    Sequence& s = live.sequence;
    bool poison = poisoned_ && one_in(3);
    s.prefix.rope = shape_.config.yarn && one_in(2) ? RopeKind::yarn : RopeKind::plain;
    if (!live_.empty() && one_in(2)) poison |= continue_another(live);
    const int64_t prompt = std::max(s.size() + 1, one_in(2) ? random_.between(1, length) : length);
    while (s.size() < prompt) s.tokens.push_back(random_token(poison));
    play_.sequences.push_back({.tokens = {}, .rope = s.prefix.rope, .is_poison = poison, .logits = {}});
    live_.push_back(std::move(live));
    ++begun_;
  }

  // It begins as another does: with pages of that one, and a copy of what it needs of the next. Whether that is poison.
  bool continue_another(Live& live) {
    const Live& other = live_[static_cast<size_t>(random_.below(std::ssize(live_)))];
    const int64_t most = std::min(other.sequence.num_cached, live.length - 1);
    if (most < 1) return false;
    Sequence& s = live.sequence;
    const int64_t size = shape_.page_size, common = one_in(2) ? most : random_.between(1, most), full = common / size;
    s.prefix.rope = other.sequence.prefix.rope;
    s.pages.assign(other.sequence.pages.begin(), other.sequence.pages.begin() + full);
    for (const int32_t page : s.pages) ++uses_[static_cast<size_t>(page)];
    s.num_cached = full * size;
    play_.events.shared_pages += full;
    if (common % size != 0) {
      s.pages.push_back(take_page());
      const PageCopy copy{other.sequence.pages[static_cast<size_t>(full)], s.pages.back(),
                          static_cast<int32_t>(common % size)};
      ops_.copy_pages(kv_, {&copy, 1});
      s.num_cached = common;
      ++play_.events.copied_pages;
    }
    s.tokens.assign(other.sequence.tokens.begin(), other.sequence.tokens.begin() + s.num_cached);
    return s.num_cached > 0 && play_.sequences[other.index].is_poison;
  }

  // ---- Steps

  void take_step() {
    const bool overlaps = pending_ && random_.below(3) != 0;
    if (pending_ && !overlaps) take_pending();
    if (live_.empty()) return;
    begin_some_again();

    std::vector<Live*> order;
    for (Live& live : live_) order.push_back(&live);
    random_.shuffle(order);
    const bool decodes = random_.below(3) != 0, few = one_in(6);
    std::vector<Part> parts;
    for (Live* live : order) {
      if (few && !parts.empty()) break;
      if (!parts.empty() && one_in(8)) continue;
      const bool draws = live->draw_row >= 0;
      if (decodes && !draws && live->left() != 1 && !parts.empty()) continue;
      const int64_t most = draws ? 1 : live->left();
      if (most == 0) continue;
      const int64_t count = decodes || one_in(4) ? 1 : random_.between(1, std::min(most, chunk_));
      parts.push_back({.live = live, .first = live->sequence.num_cached, .count = count});
    }
    run_parts(parts);
  }

  void take_pending() {
    pending_ = false;
    resolve(ops_.take_draws());
  }

  // They lose their pages.
  void begin_some_again() {
    for (Live& live : live_)
      if (live.draw_row < 0 && live.sequence.num_cached > 0 && one_in(150)) {
        if (promised() + pages_of(live.length) > std::ssize(free_)) continue;
        release(live.sequence);
        ++play_.events.begun_again;
      }
  }

  void run_parts(std::vector<Part>& parts) {
    BatchBuilder builder(shape_.page_size);
    const bool is_decode = std::ranges::all_of(parts, [](const Part& part) { return part.count == 1; }) && !one_in(8);
    int64_t num_logits = 0, num_rows = 0, num_decodes = 0;
    for (Part& part : parts) {
      Sequence& s = part.live->sequence;
      while (std::ssize(s.pages) < pages_of(part.first + part.count)) s.pages.push_back(take_page());
      BatchBuilder::Logits wanted{.last = true};
      if (!is_decode && one_in(3)) wanted = {.last = !one_in(4), .first = part.first, .count = part.count};
      if (!is_decode && one_in(6)) wanted = {};
      builder.add(s, part.first, part.count, wanted, part.live->draw_row);
      part.first_logit = num_logits;
      part.num_logits = wanted.count > 0 ? part.count : wanted.last ? 1 : 0;
      part.has_ended = part.live->draw_row >= 0 && part.live->stops;
      num_logits += part.num_logits;
      num_rows += part.count;
      num_decodes += part.count == 1;
      note(part);
    }
    Batch batch = builder.take();
    batch.is_decode = is_decode;
    ++play_.events.steps;
    play_.events.decode_steps += is_decode;
    play_.events.single_steps += is_decode && num_rows == 1;
    play_.events.beside_prompts += num_decodes < std::ssize(parts) ? num_decodes : 0;
    play_.events.most_rows = std::max(play_.events.most_rows, num_rows);

    const Tensor logits = model_.forward(ops_, batch, kv_);
    const bool samples = num_logits > 0 && one_in(2);
    if (samples) sample(logits, parts);
    if (num_logits > 0 && !one_in(4)) keep(logits, parts);
    for (Part& part : parts) part.live->sequence.num_cached += part.count;

    const bool had_pending = std::exchange(pending_, samples);
    const std::vector<NextDraw> next = std::exchange(next_draws_, {});
    if (had_pending) resolve(ops_.take_draws());  // of the step before: those that ended are gone now
    for (const NextDraw& draw : next)
      for (Live& live : live_)
        if (live.index == draw.index) live.draw_row = draw.row, live.stops = draw.stops;
    std::erase_if(live_, [&](Live& live) {
      if (live.draw_row < 0 && live.left() == 0 && live.sequence.size() >= live.length) return end(live), true;
      if (live.draw_row < 0 && live.left() == 0)
        live.sequence.tokens.push_back(random_token(play_.sequences[live.index].is_poison));
      return false;
    });
  }

  void note(const Part& part) {
    PlayedEvents& e = play_.events;
    e.from_draws += part.live->draw_row >= 0;
    e.ended_rows += part.has_ended;
    e.poison_rows += play_.sequences[part.live->index].is_poison ? part.count : 0;
    e.beyond_1024 += part.first + part.count > 1024;
  }

  struct NextDraw {
    size_t index;
    int32_t row;
    bool stops;
  };

  // Draws for all rows; some will be the next tokens of their sequences, a few of which end with them.
  void sample(const Tensor& logits, const std::vector<Part>& parts) {
    std::vector<int32_t> all_ids(static_cast<size_t>(vocab_));
    std::iota(all_ids.begin(), all_ids.end(), 0);
    std::vector<SamplingRow> rows(static_cast<size_t>(logits.rows));
    for (SamplingRow& row : rows) {
      row.seed = random_.next();
      row.temperature = one_in(2) ? 0 : random_.uniform(0.5f, 1.5f);
      if (one_in(4)) row.top_k = random_.between(1, vocab_);
      if (one_in(4)) row.top_p = random_.uniform(0.3f, 1);
    }
    for (const Part& part : parts) {
      const Live& live = *part.live;
      const bool known = part.first + part.count < live.sequence.size() || part.has_ended;
      const int64_t known_size = live.sequence.size() + (live.draw_row >= 0);
      if (known || part.num_logits == 0 || known_size >= live.length) continue;
      const auto row = static_cast<size_t>(part.first_logit + part.num_logits - 1);
      const bool stops = one_in(12);
      if (stops) rows[row].stop_ids = all_ids;
      rows[row].position = static_cast<uint64_t>(known_size);
      next_draws_.push_back({live.index, static_cast<int32_t>(row), stops});
    }
    ops_.sample(logits, rows, vocab_ - 1);
  }

  // What was drawn becomes known.
  void resolve(const std::vector<Draw>& draws) {
    std::erase_if(live_, [&](Live& live) {
      if (live.draw_row < 0) return false;
      const Draw& draw = draws[static_cast<size_t>(live.draw_row)];
      live.draw_row = -1;
      if (draw.id < 0 || draw.id >= vocab_) return complain("a draw that is no token"), end(live), true;
      live.sequence.tokens.push_back(draw.id);
      if (live.stops) return live.sequence.tokens.pop_back(), end(live), true;
      return false;
    });
  }

  void end(Live& live) {
    // Computed rows beyond the known tokens there are none of, but that of a sequence that ended.
    play_.sequences[live.index].tokens = live.sequence.tokens;
    release(live.sequence);
  }

  void keep(const Tensor& logits, const std::vector<Part>& parts) {
    const float* values = ops_.to_host(logits).data();
    for (const Part& part : parts) {
      if (part.has_ended) continue;
      PlayedSequence& played = play_.sequences[part.live->index];
      for (int64_t i = 0; i < part.num_logits; ++i) {
        const int64_t position = part.first + part.count - part.num_logits + i;
        const float* from = values + (part.first_logit + i) * logits.cols;
        std::vector<float> row(from, from + vocab_);
        if (!played.is_poison && !is_finite(row))
          complain(fmt::format("sequence {} position {} is not a number", part.live->index, position));
        const auto [at, is_new] = played.logits.try_emplace(position, row);
        if (!is_new && !played.is_poison && at->second != row)
          complain(fmt::format("sequence {} position {} computed again differs", part.live->index, position));
      }
    }
  }

  void complain(std::string what) { play_.complaints.push_back(fmt::format("step {}: {}", play_.events.steps, what)); }

  Ops& ops_;
  const Model& model_;
  const RandomModel& shape_;
  Random random_;
  const int64_t vocab_;
  const bool poisoned_;
  std::vector<int64_t> lengths_;
  int64_t max_live_, chunk_, num_pages_;
  int64_t begins_;  // of so many times one, that there is room for another sequence
  std::vector<int32_t> uses_, free_;
  PagedKv kv_;
  size_t begun_ = 0;
  std::vector<Live> live_;
  bool pending_ = false;  // draws that were not taken
  std::vector<NextDraw> next_draws_;
  Play play_;
};

}  // namespace

PagedKv make_cache(Ops& ops, const RandomModel& shape, DType dtype, int64_t num_pages) {
  return ops.allocate_kv({.num_layers = shape.config.num_layers,
                          .num_kv_heads = shape.config.num_kv_heads,
                          .head_dim = shape.config.head_dim,
                          .page_size = shape.page_size,
                          .num_pages = num_pages,
                          .dtype = dtype});
}

Play play_random_steps(Ops& ops, const Model& model, const RandomModel& shape, const PlayLimits& limits,
                       uint64_t seed) {
  return Player(ops, model, shape, limits, seed).run();
}

std::vector<std::vector<float>> run_alone(Ops& ops, const Model& model, PagedKv& kv, const PlayedSequence& played,
                                          int64_t chunk, uint64_t seed) {
  const int64_t page_size = kv.geometry.page_size;
  Random random(seed);
  Sequence sequence;
  sequence.tokens = played.tokens;
  sequence.prefix.rope = played.rope;
  sequence.pages.resize(static_cast<size_t>(kv.geometry.num_pages));
  std::iota(sequence.pages.begin(), sequence.pages.end(), 0);
  random.shuffle(sequence.pages);
  std::vector<std::vector<float>> logits;
  for (int64_t first = 0; first < sequence.size(); first += chunk) {
    BatchBuilder builder(page_size);
    const int64_t count = std::min(chunk, sequence.size() - first);
    builder.add(sequence, first, count, {.first = first, .count = count});
    Batch batch = builder.take();
    batch.is_decode = count == 1;
    const Tensor out = model.forward(ops, batch, kv);
    const float* values = ops.to_host(out).data();
    for (int64_t r = 0; r < count; ++r) logits.emplace_back(values + r * out.cols, values + (r + 1) * out.cols);
  }
  return logits;
}

}  // namespace qwill::test
