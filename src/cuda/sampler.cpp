#include "cuda/sampler.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <thread>

#include "cuda/kernels/rows.h"
#include "cuda/kernels/sampling.h"

namespace qwill::cuda {
namespace {

// What penalties and bias of a row come to, by token: three sorted lists, merged.
void add_adjustments(const SamplingRow& row, int64_t num_drawable, std::vector<TokenAdjustment>& out) {
  const bool repetition = row.repetition_penalty != 1;
  const bool counts = row.presence_penalty != 0 || row.frequency_penalty != 0;
  std::vector<int32_t> prompt, output;
  if (repetition) prompt.assign(row.prompt.begin(), row.prompt.end());
  if (repetition || counts) output.assign(row.output.begin(), row.output.end());
  std::vector<std::pair<int32_t, float>> bias(row.logit_bias.begin(), row.logit_bias.end());
  std::ranges::sort(prompt);
  std::ranges::sort(output);
  std::ranges::stable_sort(bias, {}, &std::pair<int32_t, float>::first);  // a token's are added in their order
  auto p = prompt.begin();
  auto o = output.begin();
  auto b = bias.begin();
  for (;;) {
    constexpr int32_t kNone = std::numeric_limits<int32_t>::max();
    const int32_t id =
        std::min({p == prompt.end() ? kNone : *p, o == output.end() ? kNone : *o, b == bias.end() ? kNone : b->first});
    if (id == kNone) return;
    TokenAdjustment a{.id = id, .output_count = 0, .seen = 0, .bias = 0};
    for (; p != prompt.end() && *p == id; ++p) a.seen = 1;
    for (; o != output.end() && *o == id; ++o) a.seen = 1, ++a.output_count;
    for (; b != bias.end() && b->first == id; ++b) a.bias += b->second;
    if (id >= 0 && id < num_drawable) out.push_back(a);
  }
}

// The kernels read rows by 16 bytes.
int64_t padded_to_4(int64_t cols) { return (cols + 3) / 4 * 4; }

// Room for logits on the host grows by so many rows at once: a step or two later there may be a few more of them.
constexpr int64_t kLogprobRows = 64;
// A row of 150,000 logits takes a thread a millisecond.
constexpr int kMaxThreads = 16;

// So many stop ids of each row have room; more of them share that of adjustments.
constexpr int64_t kStopIds = 16;

bool wants_logprobs(const SamplingRow& row) { return row.num_logprobs >= 0; }
bool has_penalty(const SamplingRow& row) {
  return row.repetition_penalty != 1 || row.presence_penalty != 0 || row.frequency_penalty != 0;
}

template <typename T>
int64_t bytes_of(const std::vector<T>& values) {
  return static_cast<int64_t>(values.size() * sizeof(T));
}
template <typename T>
char* put(char* to, const std::vector<T>& values) {
  if (!values.empty()) std::memcpy(to, values.data(), values.size() * sizeof(T));
  return to + bytes_of(values);
}

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
  settings_.make_room(num_rows * (static_cast<int64_t>(sizeof(SampleSettings)) + kStopIds * 4) +
                      max_tokens * static_cast<int64_t>(sizeof(TokenAdjustment)));
  slot.draws.get<int32_t>(num_rows);
  const int64_t wanting = std::ranges::count_if(rows, wants_logprobs);
  slot.logits.get<float>(std::max<int64_t>(1, (wanting + kLogprobRows - 1) / kLogprobRows * kLogprobRows * cols));
  if (cols % 4 != 0) padded_logits_.get<float>(num_rows * padded_to_4(cols));
  workspace_.get<char>(static_cast<int64_t>(sample_workspace_bytes(num_rows, cols)));
  draws_.get<int32_t>(num_rows);
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
  std::vector<int32_t> stop_ids;
  slot.num_logprobs.clear();
  slot.given.clear();
  for (const SamplingRow& row : rows) {
    const auto first = static_cast<int32_t>(adjustments.size()), first_stop = static_cast<int32_t>(stop_ids.size());
    stop_ids.insert(stop_ids.end(), row.stop_ids.begin(), row.stop_ids.end());
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
                        .num_adjustments = static_cast<int32_t>(adjustments.size()) - first,
                        .draw_source = has_penalty(row) ? row.draw_source : -1,
                        .first_stop = first_stop,
                        .num_stops = static_cast<int32_t>(stop_ids.size()) - first_stop});
    slot.num_logprobs.push_back(row.num_logprobs);
    slot.given.push_back(row.given);
  }
  make_room(slot, rows, cols, std::max(max_tokens, std::ssize(adjustments) + std::ssize(stop_ids) / 4));
  put(put(put(settings_.next(bytes_of(settings) + bytes_of(adjustments) + bytes_of(stop_ids)), settings), adjustments),
      stop_ids);
  const Counters positions{
      .first = offsetof(SampleSettings, position) / 4, .stride = sizeof(SampleSettings) / 4, .count = R};
  const uint32_t steps = settings_.send({&positions, 1}, device_);
  const char* on_device = settings_.make_room(1);
  const cudaStream_t stream = device_.stream;

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
  const char* first_adjustment = on_device + bytes_of(settings);
  auto* draws = draws_.get<int32_t>(R);
  check(cuda::sample(draws, slot.draws.get<int32_t>(R), rows_of_logits, ld, R, num_drawable,
                     {.rows = reinterpret_cast<const SampleSettings*>(on_device),
                      .adjustments = reinterpret_cast<const TokenAdjustment*>(first_adjustment),
                      .stop_ids = reinterpret_cast<const int32_t*>(first_adjustment + bytes_of(adjustments)),
                      .steps = steps},
                     workspace, stream),
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
  const int32_t* stored = slot.draws.get<int32_t>(static_cast<int64_t>(draws.size()));
  const float* logits = slot.logits.get<float>(1);
  std::vector<size_t> wanting;
  for (size_t r = 0; r < draws.size(); ++r) {
    draws[r].id = slot.given[r] >= 0 ? slot.given[r] : id_of_draw(stored[r]);
    draws[r].stops = slot.given[r] < 0 && draw_stops(stored[r]);
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
