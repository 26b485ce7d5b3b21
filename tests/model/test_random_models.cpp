// Random models in random steps: whatever shares a step, and whatever a page held before, the bits of a sequence are
// those that it has alone, and they are near what the reference says.
//
// By itself the test plays the same few models each time. Others:
// qwill_tests --gtest_filter='*RandomModels*' --gtest_shuffle --gtest_random_seed=N --gtest_repeat=TIMES
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "engine/page_pool.h"
#include "engine/schedules.h"
#include "model/random_steps.h"
#include "support/backends.h"

namespace qwill {
namespace {

using test::ModelKind;
using test::Play;
using test::PlayedEvents;
using test::PlayedSequence;
using test::Random;
using test::RandomModel;
using test::RandomModelTensors;

// A wait without end is a failure too, and the card's cannot be broken off: the process ends and says where it was.
class Watchdog {
 public:
  explicit Watchdog(std::string what) : what_(std::move(what)), thread_([this] { watch(); }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, std::chrono::minutes(3), [this] { return done_; })) return;
    std::fprintf(stderr, "no end of it: %s\n", what_.c_str());
    std::_Exit(3);
  }

  std::string what_;
  bool done_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

double elements_of(const ModelConfig& config) { return static_cast<double>(config.num_parameters()); }

// Root mean square of the difference, in that of what is wanted.
double relative_error(const std::vector<float>& got, const float* wanted) {
  double miss = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    miss += std::pow(static_cast<double>(got[i]) - wanted[i], 2);
    size += std::pow(static_cast<double>(wanted[i]), 2);
  }
  return std::sqrt(miss / size);
}

// How far a backend's logits may be from the reference's, which rounds what they round but in another order, so that
// some of it falls to the other side, and which has no cache of bf16, f16 and int8.
double allowed_error(const RandomModel& model) {
  double allowed = 1e-4;
  if (model.dtype != DTypeChoice::f32 && !(model.dtype == DTypeChoice::automatic && model.stored != DType::bf16))
    allowed = 0.03;
  if (model.dtype == DTypeChoice::fp8) allowed = 0.1;
  switch (model.cache) {
    case DType::f32: return allowed;
    case DType::f8_e4m3: return std::max(allowed, 0.1);
    default: return std::max(allowed, 0.03);
  }
}

// Of a backend some of the models, every so many.
constexpr int kNumParts = 4;

class RandomModels : public testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  const std::string& backend() const { return std::get<0>(GetParam()); }
  // Of so many models those of this part.
  template <typename Play>
  void for_models(int count, const Play& play) const {
    for (int i = std::get<1>(GetParam()); i < count && !HasFailure(); i += kNumParts) play(i);
  }

  void SetUp() override {
    if (!test::machine_has(backend())) GTEST_SKIP() << "this machine lacks " << backend();
    // Some versions of GoogleTest take the time of day where nobody asked to shuffle; each run is to play the same
    // then.
    if (GTEST_FLAG_GET(shuffle)) seed_ = static_cast<uint64_t>(testing::UnitTest::GetInstance()->random_seed());
  }

  // The same of each kind whenever it is asked for.
  uint64_t seed_of(int index, ModelKind kind) const {
    return (seed_ * 1000 + static_cast<uint64_t>(index)) * 3 + static_cast<uint64_t>(kind);
  }
  std::string tell(int index, const RandomModel& shape) const {
    return fmt::format("{}, --gtest_random_seed={}, model {}: {}", backend(), seed_, index, shape.describe());
  }

  void play(int index, ModelKind kind) {
    Random random(seed_of(index, kind));
    const RandomModel shape = test::random_model(random, backend(), kind);
    SCOPED_TRACE(tell(index, shape));
    const Watchdog watchdog(tell(index, shape));
    const RandomModelTensors tensors(shape);
    const auto ops = test::make_backend(backend(), 2);
    const auto model = load_model(*ops, shape.config, rope_settings(shape.config), tensors, shape.dtype);
    const double most = kind == ModelKind::large ? 700 : 2000, budget = test::is_cpu(backend()) ? 2e9 : 6e10;
    const auto tokens =
        static_cast<int64_t>(std::min(most, budget / static_cast<double>(shape.config.num_active_parameters())));
    const Play play =
        test::play_random_steps(*ops, *model, shape, {.tokens = tokens, .poisoned = shape.poisoned}, random.next());
    for (const std::string& complaint : play.complaints) ADD_FAILURE() << complaint;
    count(play.events);
    if (HasFailure()) return;
    compare_alone(*ops, *model, shape, play, random);
    compare_reference(shape, tensors, play, kind == ModelKind::large ? 3e8 : 1e8);
  }

  void compare_alone(Ops& ops, const Model& model, const RandomModel& shape, const Play& play, Random& random) {
    int64_t longest = 1;
    for (const PlayedSequence& sequence : play.sequences) longest = std::max(longest, std::ssize(sequence.tokens));
    PagedKv kv = test::make_cache(ops, shape, shape.cache, pages_for(longest, shape.page_size) + 1);
    for (size_t s = 0; s < play.sequences.size() && !HasFailure(); ++s) {
      const PlayedSequence& sequence = play.sequences[s];
      if (sequence.is_poison || sequence.tokens.empty()) continue;
      for (const int64_t chunk : {int64_t{1}, int64_t{1} << 20}) {
        if (chunk > 1 && random.below(3) != 0) continue;
        const auto logits = test::run_alone(ops, model, kv, sequence, chunk, random.next());
        for (const auto& [position, row] : sequence.logits) {
          if (position >= std::ssize(logits)) continue;  // a draw that was not known yet
          ++num_compared_;
          const std::vector<float>& wanted = logits[static_cast<size_t>(position)];
          if (row == wanted) continue;
          const auto id = std::ranges::mismatch(row, wanted).in1 - row.begin();
          ADD_FAILURE() << fmt::format("sequence {} of {}, {} tokens, position {}, id {}: {:.9g}, and alone {} {:.9g}",
                                       s, play.sequences.size(), sequence.tokens.size(), position, id,
                                       row[static_cast<size_t>(id)], chunk == 1 ? "row by row" : "whole",
                                       wanted[static_cast<size_t>(id)]);
          break;
        }
      }
    }
    ops.free_kv(kv);
  }

  // The first sequences that it can compute in so many products.
  void compare_reference(const RandomModel& shape, const RandomModelTensors& tensors, const Play& play, double budget) {
    if (shape.dtype == DTypeChoice::int8 || (shape.dtype == DTypeChoice::int4 && test::is_cpu(backend()))) return;
    double left = budget - elements_of(shape.config) * (shape.dtype == DTypeChoice::int4 ? 300 : 3);
    if (left < 0) return;
    const auto ops = test::make_backend("reference");
    const auto model = load_model(*ops, shape.config, rope_settings(shape.config), tensors, shape.dtype);
    const double of_token = static_cast<double>(shape.config.num_active_parameters());
    std::vector<double> errors;
    for (const PlayedSequence& sequence : play.sequences) {
      const auto size = static_cast<double>(sequence.tokens.size());
      const double cost = size * of_token + size * size * static_cast<double>(shape.config.num_heads) * 500;
      if (sequence.is_poison || sequence.logits.empty() || sequence.tokens.empty() || cost > left) continue;
      left -= cost;
      PagedKv kv = test::make_cache(*ops, shape, shape.cache == DType::f8_e4m3 ? shape.cache : DType::f32,
                                    pages_for(std::ssize(sequence.tokens), shape.page_size));
      const auto logits = test::run_alone(*ops, *model, kv, sequence, 1 << 20, 0);
      for (const auto& [position, row] : sequence.logits)
        if (position < std::ssize(logits))
          errors.push_back(relative_error(row, logits[static_cast<size_t>(position)].data()));
      ops->free_kv(kv);
    }
    if (errors.empty()) return;
    num_near_ += std::ssize(errors);
    std::ranges::sort(errors);
    // A token's experts may be others where two are nearly as likely, and then its row is another, and those that see
    // its keys are.
    const double usual = errors[errors.size() / (shape.config.moe ? 4 : 2)], most = errors.back();
    const double allowed = allowed_error(shape);
    EXPECT_LE(usual, allowed) << errors.size() << " rows, at most " << most;
    if (!shape.config.moe) {
      EXPECT_LE(most, 5 * allowed) << errors.size() << " rows";
    }
  }

  void count(const PlayedEvents& e) {
    events_.steps += e.steps;
    events_.decode_steps += e.decode_steps;
    events_.single_steps += e.single_steps;
    events_.beside_prompts += e.beside_prompts;
    events_.shared_pages += e.shared_pages;
    events_.copied_pages += e.copied_pages;
    events_.begun_again += e.begun_again;
    events_.from_draws += e.from_draws;
    events_.ended_rows += e.ended_rows;
    events_.poison_rows += e.poison_rows;
    events_.most_rows = std::max(events_.most_rows, e.most_rows);
    events_.beyond_1024 += e.beyond_1024;
  }

  void tell_events() const {
    fmt::print(
        "{} steps, {} of them decode ({} of one row), {} rows that decode beside prompts; {} pages shared, {} copied, "
        "{} sequences begun again; {} rows from draws, {} of what had ended, {} poisoned; {} rows in a step, {} rows "
        "beyond 1,024; {} rows compared, {} with the reference\n",
        events_.steps, events_.decode_steps, events_.single_steps, events_.beside_prompts, events_.shared_pages,
        events_.copied_pages, events_.begun_again, events_.from_draws, events_.ended_rows, events_.poison_rows,
        events_.most_rows, events_.beyond_1024, num_compared_, num_near_);
  }

  uint64_t seed_ = 0;
  PlayedEvents events_;
  int64_t num_compared_ = 0, num_near_ = 0;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kNumModels = 4;
#else
constexpr int kNumModels = 16;
#endif

TEST_P(RandomModels, ASequencesBitsAreItsOwn) {
  for_models(kNumModels, [&](int i) { play(i, ModelKind::small); });
  tell_events();
}

TEST_P(RandomModels, ASequencesBitsAreItsOwnInLargeProducts) {
  if (test::is_cpu(backend())) GTEST_SKIP() << "it would take long";
  for_models(kNumModels / 2, [&](int i) { play(i, ModelKind::large); });
  tell_events();
}

// What a page held before it was theirs, and the pages of their neighbours, are nothing to other sequences.
TEST_P(RandomModels, WhatIsNotANumberStaysWithItsSequence) {
  for_models(kNumModels / 2, [&](int i) { play(i, ModelKind::poisoned); });
  tell_events();
}

// The same through the engine: prefix hits, preemption, penalties and stops.
TEST_P(RandomModels, ASequencesTokensAreItsOwn) {
  test::Occurrences occurred;
  for_models(kNumModels / 2, [&](int i) {
    Random random(seed_of(i, ModelKind::small) + 1);
    const RandomModel shape = test::random_model(random, backend(), ModelKind::small);
    SCOPED_TRACE(tell(i, shape));
    const Watchdog watchdog(tell(i, shape));
    const RandomModelTensors tensors(shape);
    const test::Instance on(shape.config, tensors, shape.dtype, backend());
    const std::vector<test::Known> known = test::answer_alone(on, 6, random.next());
    for (int schedule = 0; schedule < 2; ++schedule)
      for (const std::string& complaint : test::run_schedule(on, known, random.next(), occurred))
        ADD_FAILURE() << complaint;
  });
}

std::vector<std::string> all_backends() {
  std::vector<std::string> names = test::model_backends();
  if (std::ranges::count(names, "cuda") > 0) names.push_back("cuda-apart");
  return names;
}
INSTANTIATE_TEST_SUITE_P(Backends, RandomModels,
                         testing::Combine(testing::ValuesIn(all_backends()), testing::Range(0, kNumParts)),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param);
                           std::ranges::replace(name, '-', '_');
                           return fmt::format("{}_part_{}", name, std::get<1>(info.param));
                         });

}  // namespace
}  // namespace qwill
