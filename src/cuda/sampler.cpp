#include "cuda/sampler.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <thread>

#include "cuda/kernels/rows.h"
#include "cuda/kernels/sampling.h"

namespace qwill::cuda {
namespace {

// What penalties and bias of a row come to, by token.
void add_adjustments(const SamplingRow& row, int64_t num_drawable, std::vector<TokenAdjustment>& out) {
  const bool repetition = row.repetition_penalty != 1;
  const bool counts = row.presence_penalty != 0 || row.frequency_penalty != 0;
  std::map<int32_t, TokenAdjustment> by_id;
  const auto at = [&](int32_t id) -> TokenAdjustment& {
    return by_id.try_emplace(id, TokenAdjustment{id, 0, 0, 0}).first->second;
  };
  const auto exists = [&](int32_t id) { return id >= 0 && id < num_drawable; };
  if (repetition)
    for (const int32_t id : row.prompt)
      if (exists(id)) at(id).seen = 1;
  if (repetition || counts)
    for (const int32_t id : row.output)
      if (exists(id)) {
        at(id).seen = 1;
        ++at(id).output_count;
      }
  for (const auto& [id, bias] : row.logit_bias)
    if (exists(id)) at(id).bias += bias;
  for (const auto& [id, adjustment] : by_id) out.push_back(adjustment);
}

// The kernels read rows by 16 bytes.
int64_t padded_to_4(int64_t cols) { return (cols + 3) / 4 * 4; }

// Room for logits on the host grows by so many rows at once: a step or two later there may be a few more of them.
constexpr int64_t kLogprobRows = 64;
// A row of 150,000 logits takes a thread a millisecond.
constexpr int kMaxThreads = 16;

bool wants_logprobs(const SamplingRow& row) { return row.num_logprobs >= 0; }

}  // namespace

Sampler::~Sampler() {
  for (const Slot& slot : slots_)
    if (slot.done) cudaEventDestroy(slot.done);
}

void Sampler::make_room(std::span<const SamplingRow> rows, int64_t cols, int64_t max_tokens) {
  for (Slot& slot : slots_) make_room(slot, rows, cols, max_tokens);
}

// The other slots may hold draws that nobody has taken: they keep their buffers.
void Sampler::make_room(Slot& slot, std::span<const SamplingRow> rows, int64_t cols, int64_t max_tokens) {
  const auto num_rows = static_cast<int64_t>(rows.size());
  const int64_t settings_bytes = num_rows * static_cast<int64_t>(sizeof(SampleSettings)) +
                                 max_tokens * static_cast<int64_t>(sizeof(TokenAdjustment));
  slot.settings.get<char>(settings_bytes);
  slot.ids.get<int32_t>(num_rows);
  const int64_t wanting = std::ranges::count_if(rows, wants_logprobs);
  slot.logits.get<float>(std::max<int64_t>(1, (wanting + kLogprobRows - 1) / kLogprobRows * kLogprobRows * cols));
  settings_.get<char>(settings_bytes);
  if (cols % 4 != 0) padded_logits_.get<float>(num_rows * padded_to_4(cols));
  workspace_.get<char>(static_cast<int64_t>(sample_workspace_bytes(num_rows, cols)));
  ids_.get<int32_t>(num_rows);
}

void Sampler::sample(const float* logits, int64_t cols, std::span<const SamplingRow> rows, int64_t num_drawable,
                     int64_t max_tokens) {
  CHECK(count_ < kSlots, "draws are taken before so many more are asked for");
  const auto R = static_cast<int64_t>(rows.size());
  Slot& slot = slots_[(first_ + count_) % kSlots];
  if (!slot.done) check(cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming), "create an event");
  if (num_drawable > kMaxSampledColumns)
    fail_unsupported("a vocabulary of {} tokens: the CUDA sampler takes up to {}", num_drawable, kMaxSampledColumns);

  std::vector<TokenAdjustment> adjustments;
  std::vector<SampleSettings> settings;
  slot.num_logprobs.clear();
  slot.given.clear();
  for (const SamplingRow& row : rows) {
    const auto first = static_cast<int32_t>(adjustments.size());
    add_adjustments(row, num_drawable, adjustments);
    settings.push_back({.temperature = row.temperature,
                        .top_p = row.top_p,
                        .min_p = row.min_p,
                        .presence_penalty = row.presence_penalty,
                        .frequency_penalty = row.frequency_penalty,
                        .seed = row.seed,
                        .position = row.position,
                        .choice = row.choice,
                        .top_k = static_cast<int32_t>(std::min<int64_t>(row.top_k, num_drawable)),
                        .repetition_penalty = static_cast<float>(row.repetition_penalty),
                        .first_adjustment = first,
                        .num_adjustments = static_cast<int32_t>(adjustments.size()) - first});
    slot.num_logprobs.push_back(row.num_logprobs);
    slot.given.push_back(row.given);
  }
  const auto settings_bytes = static_cast<int64_t>(settings.size() * sizeof(SampleSettings)),
             adjustment_bytes = static_cast<int64_t>(adjustments.size() * sizeof(TokenAdjustment)),
             bytes = settings_bytes + adjustment_bytes;
  make_room(slot, rows, cols, std::max(max_tokens, static_cast<int64_t>(adjustments.size())));
  char* host = slot.settings.get<char>(bytes);
  std::memcpy(host, settings.data(), static_cast<size_t>(settings_bytes));
  if (adjustment_bytes > 0)
    std::memcpy(host + settings_bytes, adjustments.data(), static_cast<size_t>(adjustment_bytes));
  char* on_device = settings_.get<char>(bytes);
  const cudaStream_t stream = device_.stream;
  check(copy_words(on_device, host, bytes, stream), "sample");

  const int64_t ld = padded_to_4(cols);
  const float* rows_of_logits = logits;
  if (ld != cols) {
    float* copy = padded_logits_.get<float>(R * ld);
    check(cudaMemcpy2DAsync(copy, static_cast<size_t>(ld) * 4, logits, static_cast<size_t>(cols) * 4,
                            static_cast<size_t>(cols) * 4, static_cast<size_t>(R), cudaMemcpyDeviceToDevice, stream),
          "sample");
    rows_of_logits = copy;
  }
  void* workspace = workspace_.get<char>(1);
  auto* ids = ids_.get<int32_t>(R);
  check(cuda::sample(ids, slot.ids.get<int32_t>(R), rows_of_logits, ld, R, num_drawable,
                     reinterpret_cast<const SampleSettings*>(on_device),
                     reinterpret_cast<const TokenAdjustment*>(on_device + settings_bytes), workspace, stream),
        "sample");
  // The rows whose log-probabilities are wanted go to the host, where take_draws computes them.
  slot.cols = cols;
  auto* copies = slot.logits.get<float>(1);
  for (int64_t r = 0; r < R; ++r) {
    if (!wants_logprobs(rows[static_cast<size_t>(r)])) continue;
    check(cudaMemcpyAsync(copies, logits + r * cols, static_cast<size_t>(cols) * 4, cudaMemcpyDeviceToHost, stream),
          "read log-probabilities");
    copies += cols;
  }
  check(cudaEventRecord(slot.done, stream), "sample");
  ++count_;
}

std::vector<Draw> Sampler::take_draws() {
  CHECK(count_ > 0, "every take_draws follows its sample");
  Slot& slot = slots_[first_];
  first_ = (first_ + 1) % kSlots;
  --count_;
  check(cudaEventSynchronize(slot.done), "run a step");
  std::vector<Draw> draws(slot.num_logprobs.size());
  const int32_t* ids = slot.ids.get<int32_t>(static_cast<int64_t>(draws.size()));
  const float* logits = slot.logits.get<float>(1);
  std::vector<size_t> wanting;
  for (size_t r = 0; r < draws.size(); ++r) {
    draws[r].id = slot.given[r] >= 0 ? slot.given[r] : ids[r];
    if (slot.num_logprobs[r] >= 0) wanting.push_back(r);
  }
  if (wanting.empty()) return draws;
  if (!threads_)
    threads_.emplace(std::clamp<int>(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads));
  threads_->run(std::ssize(wanting), [&](int64_t i) {
    const size_t r = wanting[static_cast<size_t>(i)];
    add_logprobs(draws[r], {logits + i * slot.cols, static_cast<size_t>(slot.cols)}, slot.num_logprobs[r]);
  });
  return draws;
}

}  // namespace qwill::cuda
