// A sequence's logits have the same bits whatever runs beside it, however its prompt is cut into chunks, wherever its
// pages lie and however many threads run (docs/architecture.md, "Determinism"): on every CPU path, in both precisions.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "engine/batch_builder.h"
#include "model/model.h"
#include "support/backends.h"
#include "support/random.h"
#include "support/test_paths.h"

namespace qwill {
namespace {

using test::Random;

constexpr int64_t kPageSize = 64;

struct Subject {
  const char* checkpoint;
  std::vector<int64_t> lengths;  // of the sequences that run together
};
// Every family; 8b-long's first sequence crosses a group of attention tiles, yarn's sequences alternate between both
// rotary kinds, and the built-in models have the shapes that matrix tiles take.
const Subject kSubjects[] = {
    {"06b", {150, 1, 64, 65, 129, 20, 7}},
    {"ragged", {130, 3, 40, 64, 9, 17, 100}},
    {"8b-long", {1100, 2, 130, 15, 64, 31, 1}},
    {"moe-30b", {70, 1, 33, 64, 5, 16, 90}},
    {"moe-odd", {66, 2, 17, 33, 8, 64, 31}},
    {"yarn", {200, 150, 3, 64, 65, 130, 20}},
    {"nib", {35, 1, 17}},
    {"nib-moe", {35, 1, 17}},
};

// How sequences are run: which positions of which sequences share a step.
struct Plan {
  std::string name;
  int64_t chunk = 1 << 20;
  int64_t decode_tail = 0;  // so many last rows come one at a time
  int64_t together = 7;     // sequences at once
  bool random = false;      // a random part of the sequences each step, a random number of rows of each
  uint64_t seed = 0;        // of the pages' order and of what is random
};

struct Prompt {
  std::vector<int32_t> tokens;
  RopeKind rope = RopeKind::plain;
};

// A model on a backend of its own.
struct Instance {
  Instance(const Checkpoint& checkpoint, const std::string& path, int threads, DTypeChoice dtype, bool fp8_cache)
      : ops(test::make_backend(path, threads)),
        model(load_model(*ops, checkpoint.config(), rope_settings(checkpoint.config()), CheckpointTensors(checkpoint),
                         dtype)),
        cache(fp8_cache ? DType::f8_e4m3 : ops->kv_dtype()) {}
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Model> model;
  DType cache;
};

// The logits of all positions of each prompt.
std::vector<std::vector<float>> logits_of(const Instance& on, const std::vector<Prompt>& prompts, const Plan& plan) {
  const ModelConfig& config = on.model->config();
  Random random(plan.seed);
  std::vector<Sequence> sequences;
  int64_t num_pages = 0;
  for (const Prompt& prompt : prompts) {
    Sequence& sequence = sequences.emplace_back();
    sequence.tokens = prompt.tokens;
    sequence.prefix.rope = prompt.rope;
    num_pages += (sequence.size() + kPageSize - 1) / kPageSize;
  }
  std::vector<int32_t> pages;
  for (int64_t page = 0; page < num_pages; ++page) pages.push_back(static_cast<int32_t>(page));
  random.shuffle(pages);
  for (Sequence& sequence : sequences)
    for (int64_t i = 0; i * kPageSize < sequence.size(); ++i) {
      sequence.pages.push_back(pages.back());
      pages.pop_back();
    }
  PagedKv kv = on.ops->allocate_kv({.num_layers = config.num_layers,
                                    .num_kv_heads = config.num_kv_heads,
                                    .head_dim = config.head_dim,
                                    .page_size = kPageSize,
                                    .num_pages = num_pages,
                                    .dtype = on.cache});
  std::vector<std::vector<float>> logits(prompts.size());
  size_t first_unfinished = 0;
  while (first_unfinished < sequences.size()) {
    BatchBuilder builder(kPageSize);
    std::vector<std::pair<size_t, int64_t>> rows;  // sequence, count
    const size_t end = std::min(sequences.size(), first_unfinished + static_cast<size_t>(plan.together));
    for (size_t s = first_unfinished; s < end; ++s) {
      const int64_t left = sequences[s].size() - sequences[s].num_cached;
      if (left == 0 || (plan.random && random.below(3) == 0)) continue;
      int64_t count = std::min(plan.random ? random.between(1, plan.chunk) : plan.chunk, left);
      if (plan.decode_tail > 0) count = left > plan.decode_tail ? std::min(count, left - plan.decode_tail) : 1;
      builder.add(sequences[s], sequences[s].num_cached, count, {.first = sequences[s].num_cached, .count = count});
      rows.emplace_back(s, count);
    }
    if (rows.empty()) continue;
    Batch batch = builder.take();
    batch.is_decode = std::ranges::all_of(rows, [](const auto& of_sequence) { return of_sequence.second == 1; });
    const Tensor out = on.model->forward(*on.ops, batch, kv);
    const float* next = on.ops->to_host(out).data();
    for (const auto& [s, count] : rows) {
      logits[s].insert(logits[s].end(), next, next + count * out.cols);
      next += count * out.cols;
      sequences[s].num_cached += count;
    }
    while (first_unfinished < sequences.size() &&
           sequences[first_unfinished].num_cached == sequences[first_unfinished].size())
      ++first_unfinished;
  }
  on.ops->free_kv(kv);
  return logits;
}

void expect_same_bits(const std::string& what, const std::vector<std::vector<float>>& got,
                      const std::vector<std::vector<float>>& wanted, int64_t cols) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t s = 0; s < got.size(); ++s) {
    ASSERT_EQ(got[s].size(), wanted[s].size());
    if (std::memcmp(got[s].data(), wanted[s].data(), got[s].size() * sizeof(float)) == 0) continue;
    size_t i = 0;
    while (std::memcmp(&got[s][i], &wanted[s][i], sizeof(float)) == 0) ++i;
    const auto V = static_cast<size_t>(cols);
    ADD_FAILURE() << fmt::format(
        "{}: sequence {} of {} rows differs first at position {}, id {}: got {:.9g}, wanted {:.9g}", what, s,
        got[s].size() / V, i / V, i % V, got[s][i], wanted[s][i]);
  }
}

std::string checkpoint_path(const std::string& name) {
  const std::string built_in = test::source_path("models/" + name);
  return std::filesystem::exists(built_in) ? built_in : test::source_path("tests/data/checkpoints/" + name);
}

class Determinism : public test::BackendTest {};

TEST_P(Determinism, ASequencesBitsAreItsOwn) {
  for (const auto& [name, lengths] : kSubjects) {
    const Checkpoint checkpoint = Checkpoint::open(ModelFolder::find(checkpoint_path(name), ""));
    const int64_t vocab_size = checkpoint.config().vocab_size;
    Random random(1);
    const auto prompt_of = [&](int64_t length, bool other_rope) {
      Prompt prompt;
      for (int64_t i = 0; i < length; ++i) prompt.tokens.push_back(static_cast<int32_t>(random.below(vocab_size)));
      if (checkpoint.config().yarn && !other_rope) prompt.rope = RopeKind::yarn;
      return prompt;
    };
    std::vector<Prompt> few, crowd;
    for (const int64_t length : lengths) few.push_back(prompt_of(length, few.size() % 2 == 1));
    const bool small = vocab_size < 1000;
    while (crowd.size() < 64) crowd.push_back(prompt_of(random.between(1, small ? 20 : 3), crowd.size() % 2 == 1));

    struct Types {
      DTypeChoice dtype;
      bool fp8_cache = false;
    };
    for (const auto [dtype, fp8_cache] : std::initializer_list<Types>{{DTypeChoice::f32},
                                                                      {DTypeChoice::bf16},
                                                                      {DTypeChoice::fp8},
                                                                      {DTypeChoice::int4},
                                                                      {DTypeChoice::bf16, true},
                                                                      {DTypeChoice::fp8, true}}) {
      if (fp8_cache && !test::has_fp8_cache(GetParam())) continue;
      if (dtype == DTypeChoice::fp8 && !test::has_fp8(GetParam())) continue;
      if (dtype == DTypeChoice::int4 && !test::has_int4(GetParam())) continue;
      const Instance one(checkpoint, GetParam(), 1, dtype, fp8_cache), two(checkpoint, GetParam(), 2, dtype, fp8_cache),
          three(checkpoint, GetParam(), 3, dtype, fp8_cache), five(checkpoint, GetParam(), 5, dtype, fp8_cache);
      const auto alone = [](uint64_t seed) { return Plan{.name = "alone, whole", .together = 1, .seed = seed}; };
      const auto wanted = logits_of(one, few, alone(0));
      const auto wanted_crowd = logits_of(one, crowd, alone(0));
      const auto check = [&](const Instance& on, const char* threads, const Plan& plan) {
        const std::string what = fmt::format("{} {} {}{}: {}, {}", GetParam(), name,
                                             dtype == DTypeChoice::f32    ? "f32"
                                             : dtype == DTypeChoice::bf16 ? "bf16"
                                             : dtype == DTypeChoice::fp8  ? "fp8"
                                                                          : "int4",
                                             fp8_cache ? ", cache of e4m3" : "", plan.name, threads);
        expect_same_bits(what, logits_of(on, few, plan), wanted, vocab_size);
      };
      check(one, "1 thread", {.name = "one row at a time, all together", .chunk = 1, .seed = 1});
      check(three, "3 threads", {.name = "whole, two at a time", .together = 2, .seed = 2});
      check(two, "2 threads", {.name = "whole, all together", .seed = 3});
      check(two, "2 threads", {.name = "chunks of 3, two at a time", .chunk = 3, .together = 2, .seed = 4});
      check(one, "1 thread", {.name = "chunks of 64", .chunk = 64, .seed = 5});
      check(five, "5 threads", {.name = "chunks of 100", .chunk = 100, .seed = 6});
      check(one, "1 thread",
            {.name = "chunks of 512, then 5 rows one by one", .chunk = 512, .decode_tail = 5, .seed = 7});
      check(one, "1 thread", {.name = "random", .chunk = 40, .random = true, .seed = 8});
      const auto check_crowd = [&](const Instance& on, const Plan& plan) {
        expect_same_bits(fmt::format("{} {}: 64 sequences, {}", GetParam(), name, plan.name),
                         logits_of(on, crowd, plan), wanted_crowd, vocab_size);
      };
      check_crowd(two, {.name = "whole", .together = 64, .seed = 9});
      check_crowd(one, {.name = "random", .chunk = 5, .together = 64, .random = true, .seed = 10});
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Determinism, testing::ValuesIn(test::model_backends()), test::backend_test_name);

}  // namespace
}  // namespace qwill
