// A device that is only played: it keeps a hash for every slot of the cache, knows how long a step takes, and draws
// tokens that depend on all that a sequence has stored. A wrong page, slot, position or copy, a page that is written
// while another reads it, or one that is used again too early gives other tokens than those of TokenSource.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine_core.h"
#include "engine/prefix_cache.h"
#include "engine/runner.h"

namespace qwill::test {

// A promise is broken: the message says which.
[[noreturn]] void broken(const std::string& promise);

// The tokens that the device draws for a sequence: a pure function of what the sequence holds.
class TokenSource {
 public:
  TokenSource(const PrefixKey& prefix, const SamplingParams& sampling);

  void push(int32_t token);
  // What is drawn behind the tokens so far.
  int32_t draw(int64_t vocab_size) const;
  // The log-probability, of a kind, of a token that is given instead.
  float score(int32_t token, int32_t num_logprobs) const;
  // The next `count` draws, each pushed.
  std::vector<int32_t> continuation(int64_t count, int64_t vocab_size);

 private:
  uint64_t slot_, sum_ = 0, seed_;
  uint64_t position_ = 0;
};

// How long the device works on a step, and the host on its launch: about an 8B model on one H100.
struct StepTime {
  int64_t weights_ns = 5'000'000;
  int64_t key_ns = 44;  // reading one token's keys and values
  int64_t row_ns = 25'000;
  int64_t host_ns = 200'000;
};

class SimulatedRunner final : public Runner {
 public:
  // `config` has no zeros that stand for something else.
  SimulatedRunner(const EngineConfig& config, int64_t vocab_size, const StepTime& time = {});

  void launch(const Batch& batch, std::span<const PageCopy> copies, std::span<const SamplingRow> rows) override;
  std::vector<Draw> take_draws() override;

  // The host's clock: it stands still but for launches, waiting, and who sets it forward.
  int64_t clock_ns() const { return clock_ns_; }
  void wait_until(int64_t clock_ns);
  // The call after so many more of launch and take_draws throws Error(device), and all that follow.
  void fail_after(int64_t calls) { calls_left_ = calls; }

  int64_t num_steps() const { return num_steps_; }
  int64_t num_rows() const { return num_rows_; }

 private:
  struct Pending {
    std::vector<Draw> draws;
    int64_t done_ns;
  };

  void count_call();
  void copy_pages(std::span<const PageCopy> copies);
  void check_rows(const Batch& batch, std::span<const SamplingRow> rows) const;
  void store(const Batch& batch);
  Draw draw(const Batch& batch, int64_t sequence, int32_t row, const SamplingRow& sampling) const;
  uint64_t& slot(int64_t page, int64_t entry) { return slots_[static_cast<size_t>(page * page_size_ + entry)]; }
  uint64_t slot(int64_t page, int64_t entry) const { return slots_[static_cast<size_t>(page * page_size_ + entry)]; }

  EngineConfig config_;
  int64_t page_size_, vocab_size_;
  StepTime time_;
  std::vector<uint64_t> slots_;
  // Of each page: in which step it was last written, and by which sequence of the batch.
  std::vector<int64_t> written_in_, written_by_;
  std::vector<Draw> last_draws_;  // of the last launch, as the device sees them
  std::deque<Pending> pending_;
  int64_t clock_ns_ = 0, device_free_ns_ = 0;
  int64_t calls_left_ = -1;
  int64_t num_steps_ = 0, num_rows_ = 0;
};

}  // namespace qwill::test
