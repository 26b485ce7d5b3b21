#include "engine/simulated_runner.h"

#include <fmt/core.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace qwill::test {
namespace {

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

uint64_t before_first(RopeKind rope, int32_t cache_namespace) {
  return mix((static_cast<uint64_t>(static_cast<uint32_t>(cache_namespace)) << 8) + static_cast<uint64_t>(rope) + 1);
}

// What a slot holds: the token, its position, and all before it.
uint64_t slot_of(uint64_t before, int32_t token, uint64_t position) {
  return mix(before + static_cast<uint64_t>(token) * 0x9e3779b97f4a7c15ull + position + 1);
}

// A slot's part in what is read.
uint64_t weighed(uint64_t slot, uint64_t position) { return slot * (2 * position + 1); }

uint64_t seed_of(uint64_t seed, uint32_t choice) { return mix(seed + 1) ^ choice; }

int32_t token_of(uint64_t sum, uint64_t seed, int64_t vocab_size) {
  return static_cast<int32_t>(mix(sum ^ seed) % static_cast<uint64_t>(vocab_size));
}

float score_of(uint64_t sum, int32_t token, int32_t num_logprobs) {
  return static_cast<float>(mix(sum + 31 * static_cast<uint64_t>(token) + static_cast<uint64_t>(num_logprobs)) >> 40);
}

void require(bool kept, const char* promise) {
  if (!kept) broken(promise);
}

}  // namespace

void broken(const std::string& promise) { throw std::logic_error("broken: " + promise); }

TokenSource::TokenSource(const PrefixKey& prefix, const SamplingParams& sampling)
    : slot_(before_first(prefix.rope, prefix.cache_namespace)), seed_(seed_of(sampling.seed, sampling.choice)) {}

void TokenSource::push(int32_t token) {
  slot_ = slot_of(slot_, token, position_);
  sum_ += weighed(slot_, position_);
  ++position_;
}

int32_t TokenSource::draw(int64_t vocab_size) const { return token_of(sum_, seed_, vocab_size); }

float TokenSource::score(int32_t token, int32_t num_logprobs) const { return score_of(sum_, token, num_logprobs); }

std::vector<int32_t> TokenSource::continuation(int64_t count, int64_t vocab_size) {
  std::vector<int32_t> tokens;
  while (static_cast<int64_t>(tokens.size()) < count) {
    tokens.push_back(draw(vocab_size));
    push(tokens.back());
  }
  return tokens;
}

SimulatedRunner::SimulatedRunner(const EngineConfig& config, int64_t vocab_size, const StepTime& time)
    : config_(config),
      page_size_(config.page_size),
      vocab_size_(vocab_size),
      time_(time),
      slots_(static_cast<size_t>(config.num_pages * config.page_size)),
      written_in_(static_cast<size_t>(config.num_pages), -1),
      written_by_(static_cast<size_t>(config.num_pages), -1) {}

void SimulatedRunner::wait_until(int64_t clock_ns) { clock_ns_ = std::max(clock_ns_, clock_ns); }

void SimulatedRunner::count_call() {
  if (calls_left_ == 0) fail(ErrorKind::device, "simulation: the device was made to fail");
  if (calls_left_ > 0) --calls_left_;
}

void SimulatedRunner::copy_pages(std::span<const PageCopy> copies) {
  for (const PageCopy& copy : copies) {
    // They may run in any order, or at once.
    for (const PageCopy& other : copies)
      require(copy.to != other.from && (&copy == &other || copy.to != other.to), "copies do not touch one another");
    require(copy.num_entries > 0 && copy.num_entries < page_size_, "of a page a part is copied");
    std::copy_n(&slot(copy.from, 0), copy.num_entries, &slot(copy.to, 0));
    std::fill_n(&slot(copy.to, copy.num_entries), page_size_ - copy.num_entries, uint64_t{0});
  }
}

// That the batch is as ops/batch.h says, and within the engine's limits.
void SimulatedRunner::check_rows(const Batch& batch, std::span<const SamplingRow> rows) const {
  require(batch.num_rows() > 0, "a step has rows");
  require(batch.num_sequences() <= config_.max_sequences, "no more sequences in a step than may run");
  require(rows.size() == batch.logit_rows.size(), "one draw for each row whose logits are wanted");
  int64_t prompt_rows = 0;
  bool decodes = false, only_decodes = true;
  size_t next_logit = 0;
  int64_t given_rows = 0;
  for (size_t s = 0; s < batch.seq_lens.size(); ++s) {
    const int32_t first = batch.row_begin[s], last = batch.row_begin[s + 1];
    require(first < last, "every sequence of a step has rows");
    require((batch.seq_lens[s] + page_size_ - 1) / page_size_ <= batch.max_pages, "the page table covers the keys");
    bool draws = false;
    for (; next_logit < rows.size() && batch.logit_rows[next_logit] < last; ++next_logit) {
      const int32_t row = batch.logit_rows[next_logit];
      const SamplingRow& sampling = rows[next_logit];
      require(row >= first && (next_logit == 0 || row > batch.logit_rows[next_logit - 1]), "logits are in order");
      require(sampling.position == static_cast<uint64_t>(batch.positions[static_cast<size_t>(row)]) + 1,
              "a draw knows its position");
      draws = sampling.given < 0;
      if (draws) {
        require(row == last - 1, "only the last row of a sequence draws");
        continue;
      }
      require(row == last - 1 || batch.tokens[static_cast<size_t>(row) + 1] == sampling.given,
              "what is given is the next token");
      ++given_rows;
    }
    if (last - first == 1 && draws)
      decodes = true;
    else
      only_decodes = false, prompt_rows += last - first;
  }
  require(next_logit == rows.size(), "logits are of rows");
  require(given_rows <= config_.max_given_rows, "no more rows are given than may be");
  require(batch.is_decode == only_decodes, "a batch knows whether it only decodes");
  require(prompt_rows <= (decodes ? config_.mixed_chunk_size : config_.chunk_size), "prompt rows hold to the budget");
}

void SimulatedRunner::store(const Batch& batch) {
  for (int64_t s = 0; s < batch.num_sequences(); ++s) {
    const auto i = static_cast<size_t>(s);
    const int32_t* pages = batch.pages(s);
    const int32_t first_row = batch.row_begin[i], last_row = batch.row_begin[i + 1];
    for (int32_t r = first_row; r < last_row; ++r) {
      const auto row = static_cast<size_t>(r);
      const int64_t position = batch.positions[row];
      require(position == batch.seq_lens[i] - (last_row - r), "rows stand at the end of their sequence");
      const int64_t page = pages[position / page_size_], entry = position % page_size_;
      require(page >= 0 && page < config_.num_pages, "pages exist");
      require(batch.slots[row] == page * page_size_ + entry, "slots are those of the page table");
      auto& written_in = written_in_[static_cast<size_t>(page)];
      auto& written_by = written_by_[static_cast<size_t>(page)];
      require(written_in != num_steps_ || written_by == s, "no two sequences write one page in a step");
      written_in = num_steps_, written_by = s;
      int32_t token = batch.tokens[row];
      if (const int32_t source = batch.draw_source[row]; source != Batch::kFromHost) {
        require(source >= 0 && source < static_cast<int32_t>(last_draws_.size()), "a row's token was drawn");
        token = last_draws_[static_cast<size_t>(source)].id;
        require(token >= 0, "nobody takes a token that was given");
      }
      const uint64_t before = position == 0 ? before_first(batch.rope[i], batch.cache_namespace[i])
                                            : slot(pages[(position - 1) / page_size_], (position - 1) % page_size_);
      slot(page, entry) = slot_of(before, token, static_cast<uint64_t>(position));
    }
  }
  for (int64_t s = 0; s < batch.num_sequences(); ++s)
    for (int64_t p = 0; p * page_size_ < batch.seq_lens[static_cast<size_t>(s)]; ++p) {
      const auto page = static_cast<size_t>(batch.pages(s)[p]);
      require(written_in_[page] != num_steps_ || written_by_[page] == s,
              "no sequence reads a page that another writes");
    }
}

Draw SimulatedRunner::draw(const Batch& batch, int64_t sequence, int32_t row, const SamplingRow& sampling) const {
  const int32_t* pages = batch.pages(sequence);
  const int64_t size = batch.positions[static_cast<size_t>(row)] + 1;
  uint64_t sum = 0;
  for (int64_t first = 0; first < size; first += page_size_) {
    const uint64_t* page = &slots_[static_cast<size_t>(*pages++ * page_size_)];
    const int64_t count = std::min(page_size_, size - first);
    for (int64_t i = 0; i < count; ++i) sum += weighed(page[i], static_cast<uint64_t>(first + i));
  }
  if (sampling.given >= 0) return {sampling.given, score_of(sum, sampling.given, sampling.num_logprobs), {}};
  if (sampling.presence_penalty != 0 || sampling.frequency_penalty != 0 || sampling.repetition_penalty != 1) {
    SamplingParams params;
    params.seed = sampling.seed;
    params.choice = sampling.choice;
    const auto i = static_cast<size_t>(sequence);
    TokenSource known({batch.rope[i], batch.cache_namespace[i]}, params);
    for (const int32_t token : sampling.prompt) known.push(token);
    for (const int32_t token : sampling.output) known.push(token);
    if (sampling.draw_source >= 0) known.push(last_draws_.at(static_cast<size_t>(sampling.draw_source)).id);
    require(known.draw(vocab_size_) == token_of(sum, seed_of(sampling.seed, sampling.choice), vocab_size_),
            "penalties see every token");
  }
  const int32_t id = token_of(sum, seed_of(sampling.seed, sampling.choice), vocab_size_);
  return {id, 0, {}, std::ranges::find(sampling.stop_ids, id) != sampling.stop_ids.end()};
}

// Works at once, which is what a stream comes to: copies, then rows, then draws, one launch after another.
void SimulatedRunner::launch(const Batch& batch, std::span<const PageCopy> copies, std::span<const SamplingRow> rows) {
  count_call();
  require(pending_.size() <= 1, "at most one step is under way when the next begins");
  check_rows(batch, rows);
  copy_pages(copies);
  store(batch);
  std::vector<Draw> draws;
  size_t sequence = 0;
  int64_t keys = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const int32_t row = batch.logit_rows[i];
    while (batch.row_begin[sequence + 1] <= row) ++sequence;
    draws.push_back(draw(batch, static_cast<int64_t>(sequence), row, rows[i]));
  }
  for (const int32_t seq_len : batch.seq_lens) keys += seq_len;
  clock_ns_ += time_.host_ns;
  device_free_ns_ =
      std::max(device_free_ns_, clock_ns_) + time_.weights_ns + keys * time_.key_ns + batch.num_rows() * time_.row_ns;
  last_draws_ = draws;
  for (size_t i = 0; i < rows.size(); ++i)
    if (rows[i].given >= 0) last_draws_[i].id = -1;  // a device may draw there what it likes: nobody takes it
  if (!rows.empty()) pending_.push_back({std::move(draws), device_free_ns_});
  ++num_steps_;
  num_rows_ += batch.num_rows();
}

std::vector<Draw> SimulatedRunner::take_draws() {
  count_call();
  require(!pending_.empty(), "draws are taken once");
  Pending oldest = std::move(pending_.front());
  pending_.pop_front();
  wait_until(oldest.done_ns);
  return std::move(oldest.draws);
}

}  // namespace qwill::test
