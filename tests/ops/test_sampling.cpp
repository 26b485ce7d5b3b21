// Sampling against its plain meaning, implemented here once more; the generator against its published vectors; and the
// distribution of many draws.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "ops/sampling.h"
#include "support/backends.h"
#include "support/random.h"

namespace qwill {
namespace {

using test::Random;

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

// Known-answer vectors of Random123 (kat_vectors, "philox4x32 10").
TEST(Philox, PublishedVectors) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformsAreWordsOfTheTokensBlock) {
  const uint64_t seed = 0x299f31d0a4093822, position = 0x13198a2e85a308d3;
  const std::array<uint32_t, 4> words = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  for (uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(philox_uniform(seed, 0x03707344, position, 4 * 0x243f6a88u + i), (words[i] + 0.5) / 4294967296.0);
}

// A uniform number of 1 would have infinite noise and win over any logit. These come closest in the first million
// positions of seed 0 (words ffffffe3, ffffff91).
TEST(Philox, UniformsNeverReachOne) {
  EXPECT_LT(philox_uniform(0, 0, 58585, 48), 1);
  EXPECT_LT(philox_uniform(0, 0, 507113, 55), 1);
  std::vector<float> logits(64, 0.0f);
  logits[7] = 60;
  for (const uint64_t position : {58585, 507113})
    EXPECT_EQ(sample_row(logits, {.temperature = 1, .position = position}, 64).id, 7);
}

TEST(Philox, UniformsFillTheirRangeEvenly) {
  constexpr int kBins = 64, kDraws = 1 << 16;
  std::vector<int> bins(kBins);
  for (int i = 0; i < kDraws; ++i)
    ++bins[static_cast<size_t>(philox_uniform(7, 0, static_cast<uint64_t>(i) / 16, static_cast<uint32_t>(i) % 16) *
                               kBins)];
  double chi_square = 0;
  for (const int count : bins) chi_square += std::pow(count - kDraws / kBins, 2) / (kDraws / kBins);
  EXPECT_LT(chi_square, 120) << "63 degrees of freedom: exceeded once in 50,000";
}

struct Survivor {
  double score;  // adjusted logit / temperature
  double probability;
};

// The plain meaning, slowly: what may be drawn, by id.
std::map<int32_t, Survivor> plain_survivors(std::vector<float> logits, const SamplingRow& row, int64_t num_drawable) {
  logits.resize(static_cast<size_t>(num_drawable));
  std::set<int32_t> seen(row.prompt.begin(), row.prompt.end());
  seen.insert(row.output.begin(), row.output.end());
  std::map<int32_t, int> counts;
  for (const int32_t id : row.output) ++counts[id];
  for (int32_t id = 0; id < num_drawable; ++id) {
    float& logit = logits[static_cast<size_t>(id)];
    if (row.repetition_penalty != 1 && seen.contains(id)) {
      const auto penalty = static_cast<float>(row.repetition_penalty);
      logit = logit < 0 ? logit * penalty : logit / penalty;
    }
    if (counts.contains(id)) logit -= static_cast<float>(row.presence_penalty + row.frequency_penalty * counts[id]);
    for (const auto& [biased, bias] : row.logit_bias)
      if (biased == id) logit += bias;
  }
  std::vector<std::pair<double, int32_t>> order;  // minus the score, id
  for (int32_t id = 0; id < num_drawable; ++id)
    if (logits[static_cast<size_t>(id)] > -kInf)
      order.emplace_back(-logits[static_cast<size_t>(id)] / row.temperature, id);
  std::ranges::sort(order);
  if (row.top_k > 0 && row.top_k < static_cast<int64_t>(order.size())) order.resize(static_cast<size_t>(row.top_k));
  const auto renormed = [&] {
    std::vector<double> p;
    double total = 0;
    for (const auto& [minus, id] : order) total += p.emplace_back(std::exp(order[0].first - minus));
    for (double& x : p) x /= total;
    return p;
  };
  std::vector<double> p = renormed();
  double before = 0;
  size_t kept = 0;
  while (kept < p.size() && (kept == 0 || before < row.top_p)) before += p[kept++];
  if (row.top_p < 1) order.resize(kept);
  p = renormed();
  while (order.size() > 1 && p[order.size() - 1] < row.min_p * p[0]) order.pop_back();
  p = renormed();
  std::map<int32_t, Survivor> out;
  for (size_t i = 0; i < order.size(); ++i) out[order[i].second] = {-order[i].first, p[i]};
  return out;
}

struct Setting {
  const char* name;
  SamplingRow row;
};

const std::vector<int32_t> kPrompt = {1, 2, 2, 3, 90}, kOutput = {3, 4, 4, 4, 95};
const std::vector<std::pair<int32_t, float>> kBias = {{5, 2.5f}, {6, -100.0f}, {7, -kInf},
                                                      {8, 1.0f}, {8, 0.5f},    {99, 100.0f}};
const Setting kSettings[] = {
    {"plain", {.temperature = 1}},
    {"cold", {.temperature = 0.5}},
    {"hot", {.temperature = 3}},
    {"top-k", {.temperature = 1, .top_k = 5}},
    {"top-k 1", {.temperature = 1, .top_k = 1}},
    {"top-p", {.temperature = 1, .top_p = 0.7}},
    {"top-p tiny", {.temperature = 1, .top_p = 1e-9}},
    {"min-p", {.temperature = 1, .min_p = 0.2}},
    {"min-p after temperature", {.temperature = 2, .min_p = 0.5}},
    {"all three", {.temperature = 1.3, .top_k = 12, .top_p = 0.9, .min_p = 0.1}},
    {"repetition", {.temperature = 1, .repetition_penalty = 1.5, .prompt = kPrompt, .output = kOutput}},
    {"presence, frequency",
     {.temperature = 1, .presence_penalty = 0.7, .frequency_penalty = 0.4, .prompt = kPrompt, .output = kOutput}},
    {"bias", {.temperature = 1, .logit_bias = kBias}},
    {"everything",
     {.temperature = 0.8,
      .top_k = 20,
      .top_p = 0.95,
      .min_p = 0.02,
      .repetition_penalty = 1.2,
      .presence_penalty = 0.3,
      .frequency_penalty = -0.2,
      .logit_bias = kBias,
      .prompt = kPrompt,
      .output = kOutput}},
};
constexpr int64_t kVocab = 100, kDrawable = 40;

std::vector<float> random_logits(uint64_t seed) {
  Random random(seed);
  std::vector<float> logits = random.floats(kVocab, -2, 3);
  for (size_t id = kDrawable; id < kVocab; ++id) logits[id] += 20;  // padding looks tempting
  return logits;
}

// The draw is the largest of score + Gumbel noise among the survivors.
TEST(Sampling, DrawsWhatTheFormulaSays) {
  for (const auto& [name, setting] : kSettings) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      SamplingRow row = setting;
      row.seed = seed * 0x9e3779b97f4a7c15ull;
      row.choice = static_cast<uint32_t>(seed % 3);
      row.position = seed * 7;
      const std::vector<float> logits = random_logits(seed);
      int32_t wanted = -1;
      double highest = -kInf;
      for (const auto& [id, survivor] : plain_survivors(logits, row, kDrawable)) {
        const double u = philox_uniform(row.seed, row.choice, row.position, static_cast<uint32_t>(id));
        const double noisy = survivor.score - std::log(-std::log(u));
        if (noisy > highest) highest = noisy, wanted = id;
      }
      EXPECT_EQ(sample_row(logits, row, kDrawable).id, wanted) << name << ", seed " << seed;
    }
  }
}

// Over many positions the draws follow the survivors' probabilities.
TEST(Sampling, DrawsAreDistributedAsTheyShould) {
  constexpr int kDraws = 20000;
  for (const auto& [name, setting] : kSettings) {
    SamplingRow row = setting;
    row.seed = 12345;
    const std::vector<float> logits = random_logits(77);
    const auto survivors = plain_survivors(logits, row, kDrawable);
    std::map<int32_t, int> counts;
    for (int i = 0; i < kDraws; ++i) {
      row.position = static_cast<uint64_t>(i);
      ++counts[sample_row(logits, row, kDrawable).id];
    }
    double chi_square = 0, rare = 0, rare_count = 0;
    int degrees = -1;
    for (const auto& [id, survivor] : survivors) {
      const double expected = survivor.probability * kDraws;
      if (expected < 5) {  // too few for the statistic: together
        rare += expected;
        rare_count += counts[id];
      } else {
        chi_square += std::pow(counts[id] - expected, 2) / expected;
        ++degrees;
      }
    }
    if (rare >= 5) {
      chi_square += std::pow(rare_count - rare, 2) / rare;
      ++degrees;
    }
    for (const auto& [id, count] : counts) EXPECT_TRUE(count == 0 || survivors.contains(id)) << name << ": drew " << id;
    // The upper end of the statistic by Wilson and Hilferty's cube root, 4 standard deviations.
    const double spread = 2.0 / (9 * std::max(degrees, 1)),
                 limit = std::max(degrees, 1) * std::pow(1 - spread + 4 * std::sqrt(spread), 3);
    EXPECT_LE(chi_square, limit) << name << ": " << degrees << " degrees of freedom";
  }
}

TEST(Sampling, GreedyTakesTheLowestOfTheHighest) {
  EXPECT_EQ(sample_row(std::vector<float>{1, 3, 3, 2}, {}, 4).id, 1);
  EXPECT_EQ(sample_row(std::vector<float>{-1, -kInf, -1}, {}, 3).id, 0);
  EXPECT_EQ(sample_row(std::vector<float>{1, 2, 9}, {}, 2).id, 1) << "padding is not drawn";
  const std::vector<std::pair<int32_t, float>> bias = {{0, 5.0f}};
  EXPECT_EQ(sample_row(std::vector<float>{1, 3}, {.logit_bias = bias}, 2).id, 0) << "bias moves the greedy choice";
  const std::vector<int32_t> seen = {1};
  EXPECT_EQ(sample_row(std::vector<float>{1.6f, 3}, {.repetition_penalty = 2, .prompt = seen}, 2).id, 0);
  EXPECT_EQ(sample_row(std::vector<float>{-3, -2}, {.repetition_penalty = 2, .prompt = seen}, 2).id, 0)
      << "below 0 it multiplies";
}

TEST(Sampling, EqualLogitsAtTheBorderOfTopKKeepTheLowestIds) {
  const std::vector<float> logits(30, 1.5f);
  std::set<int32_t> drawn;
  for (uint64_t position = 0; position < 300; ++position)
    drawn.insert(sample_row(logits, {.temperature = 1, .top_k = 4, .position = position}, 30).id);
  EXPECT_EQ(drawn, (std::set<int32_t>{0, 1, 2, 3}));
}

TEST(Sampling, DependsOnSeedChoiceAndPositionAlone) {
  const std::vector<float> flat(2000, 0.0f);
  const auto stream = [&](uint64_t seed, uint32_t choice) {
    std::vector<int32_t> ids;
    for (uint64_t position = 0; position < 32; ++position)
      ids.push_back(
          sample_row(flat, {.temperature = 1, .seed = seed, .choice = choice, .position = position}, 2000).id);
    return ids;
  };
  EXPECT_EQ(stream(1, 0), stream(1, 0));
  EXPECT_NE(stream(1, 0), stream(1, 1));
  EXPECT_NE(stream(1, 0), stream(2, 0));
  EXPECT_NE(stream(1, 0), stream(1 + (1ull << 32), 0)) << "all 64 bits of the seed count";
}

TEST(Sampling, Temperatures) {
  const std::vector<float> logits = {1, 2, 2.001f, 0};
  std::map<int32_t, int> counts;
  for (uint64_t position = 0; position < 2000; ++position) {
    for (const double cold : {1e-6, 1e-300, 5e-324})
      EXPECT_EQ(sample_row(logits, {.temperature = cold, .position = position}, 4).id, 2) << cold;
    ++counts[sample_row(logits, {.temperature = 1e6, .position = position}, 4).id];
  }
  for (int32_t id = 0; id < 4; ++id) EXPECT_NEAR(counts[id], 500, 100) << "as good as uniform";
}

TEST(Sampling, BiasOfAHundredDecides) {
  Random random(1);
  const std::vector<float> logits = random.floats(50, -5, 5);
  const std::vector<std::pair<int32_t, float>> force = {{17, 100.0f}},
                                               forbid = {{3, -100.0f}, {4, -kInf}, {60, 100.0f}, {50, kInf}};
  for (uint64_t position = 0; position < 500; ++position) {
    EXPECT_EQ(sample_row(logits, {.temperature = 1, .logit_bias = force, .position = position}, 50).id, 17);
    const int32_t id = sample_row(logits, {.temperature = 1, .logit_bias = forbid, .position = position}, 50).id;
    EXPECT_TRUE(id != 3 && id != 4 && id < 50) << id;
  }
}

TEST(Sampling, LogprobsAreOfTheRawDistributionOverAllColumns) {
  const std::vector<float> logits = random_logits(5);
  SamplingRow row = kSettings[13].row;
  row.num_logprobs = static_cast<int32_t>(kVocab);
  const Draw draw = sample_row(logits, row, kDrawable);
  ASSERT_EQ(draw.top.size(), static_cast<size_t>(kVocab));
  double total = 0, normaliser = 0;
  for (const float logit : logits) normaliser += std::exp(static_cast<double>(logit));
  for (size_t i = 0; i < draw.top.size(); ++i) {
    const auto& [id, logprob] = draw.top[i];
    total += std::exp(static_cast<double>(logprob));
    EXPECT_NEAR(logprob, logits[static_cast<size_t>(id)] - std::log(normaliser), 1e-5);
    EXPECT_TRUE(i == 0 || logprob <= draw.top[i - 1].logprob) << i;
    EXPECT_TRUE(id != draw.id || draw.logprob == logprob) << id;
  }
  EXPECT_NEAR(total, 1, 1e-5);
  row.num_logprobs = 3;
  EXPECT_EQ(sample_row(logits, row, kDrawable).top.size(), 3u);
  row.num_logprobs = 0;
  EXPECT_TRUE(sample_row(logits, row, kDrawable).top.empty());
  EXPECT_NEAR(sample_row(logits, row, kDrawable).logprob, draw.logprob, 0);
  row.num_logprobs = 1000;
  EXPECT_EQ(sample_row(logits, row, kDrawable).top.size(), static_cast<size_t>(kVocab));
}

TEST(Sampling, EqualLogprobsAreListedById) {
  const Draw draw = sample_row(std::vector<float>{0, 1, 1, 0}, {.num_logprobs = 4}, 4);
  ASSERT_EQ(draw.top.size(), 4u);
  EXPECT_EQ(draw.top[0].id, 1);
  EXPECT_EQ(draw.top[1].id, 2);
  EXPECT_EQ(draw.top[2].id, 0);
  EXPECT_EQ(draw.top[3].id, 3);
}

// Whatever the settings, and padding too: nothing is drawn.
TEST(Sampling, AGivenTokenHasItsLogprob) {
  const std::vector<float> logits = {1, 4, 2, 3};
  for (const int32_t given : {0, 1, 3})
    for (const double temperature : {0.0, 1.0}) {
      const Draw draw = sample_row(
          logits, {.temperature = temperature, .top_k = 1, .repetition_penalty = 2, .num_logprobs = 1, .given = given},
          3);
      EXPECT_EQ(draw.id, given);
      EXPECT_EQ(draw.logprob, static_cast<float>(logits[static_cast<size_t>(given)] - log_sum_exp(logits)));
      ASSERT_EQ(draw.top.size(), 1u);
      EXPECT_EQ(draw.top[0].id, 1);
    }
  EXPECT_EQ(sample_row(logits, {.given = 2}, 4).logprob, 0) << "not asked for";
}

TEST(Sampling, LogSumExpHoldsLargeLogits) {
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{1000, 1000}), 1000 + std::log(2.0));
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{-1000, -kInf}), -1000);
}

// No logits, however broken, crash, hang or draw an id that is not there.
TEST(Sampling, BrokenLogitsGiveSomeId) {
  const std::vector<std::vector<float>> broken = {
      std::vector<float>(9, kNan),
      std::vector<float>(9, -kInf),
      std::vector<float>(9, kInf),
      {kNan, 1, kNan, 2, -kInf, kInf, 0, kNan, kInf},
      {3.4e38f, -3.4e38f, 3.4e38f, 0, 0, 0, 0, 0, 0},
  };
  for (const std::vector<float>& logits : broken) {
    for (const auto& [name, setting] : kSettings) {
      SamplingRow row = setting;
      row.num_logprobs = 5;
      for (const double temperature : {0.0, 1e-6, 1.0, 1e6}) {
        row.temperature = temperature;
        const int32_t id = sample_row(logits, row, 7).id;
        EXPECT_TRUE(id >= 0 && id < 7) << name << ": " << id;
      }
    }
  }
  EXPECT_EQ(sample_row(broken[0], {}, 9).id, 0);
  EXPECT_EQ(sample_row(broken[1], {.temperature = 1}, 9).id, 0);
  const int32_t id = sample_row(std::vector<float>{kNan, 5, kNan, 1}, {}, 4).id;
  EXPECT_EQ(id, 1) << "what is no number is never the highest";
}

// Of many kinds, mixed in one batch: greedy, plain and filtered rows with penalties and bias, and rows whose token is
// given. Lists are those of `lists`.
struct SampleLists {
  SampleLists(Random& random, int64_t V) {
    for (int i = 0; i < 30; ++i) prompt.push_back(static_cast<int32_t>(random.below(V)));
    for (int i = 0; i < 20; ++i) output.push_back(static_cast<int32_t>(random.below(V)));
  }
  std::vector<int32_t> prompt, output;
  std::vector<std::pair<int32_t, float>> bias = {{3, 4.0f}, {5, -kInf}, {11, 1.5f}};
};

std::vector<SamplingRow> mixed_rows(const SampleLists& lists, uint64_t seed) {
  std::vector<SamplingRow> rows(9);
  for (size_t r = 0; r < rows.size(); ++r) {
    SamplingRow& row = rows[r];
    row.seed = seed;
    row.position = r;
    row.temperature = r % 3 == 0 ? 0 : 0.5 + 0.25 * static_cast<double>(r);
    if (r % 4 == 1) row.top_k = 1 + static_cast<int64_t>(r);
    if (r % 4 == 2) row.top_p = 0.7;
    if (r == 7) row.min_p = 0.05;
    if (r < 5) continue;
    row.repetition_penalty = 1.3;
    row.presence_penalty = 0.4;
    row.frequency_penalty = -0.2;
    row.logit_bias = lists.bias;
    row.prompt = lists.prompt;
    row.output = lists.output;
  }
  return rows;
}

// By number of columns: each a test of its own, since tools that watch every access take minutes for the largest.
class SampleOp : public testing::TestWithParam<std::tuple<std::string, int64_t>> {
 protected:
  void SetUp() override {
    if (backend() != "reference" && !test::machine_has(backend())) GTEST_SKIP() << "this machine lacks " << backend();
    random = Random(static_cast<uint64_t>(columns()));
  }
  std::string backend() const { return std::get<0>(GetParam()); }
  int64_t columns() const { return std::get<1>(GetParam()); }
  std::vector<float> random_logits(size_t num_rows) {
    const int64_t count = static_cast<int64_t>(num_rows) * columns();
    std::vector<float> logits = random.floats(count, -6, 6);
    for (size_t i = 0; i < num_rows; ++i) logits[static_cast<size_t>(random.below(count))] = -kInf;
    return logits;
  }
  // What the op draws from rows of logits, compared with sample_row.
  std::vector<Draw> draw(Ops& ops, std::vector<float> logits, const std::vector<SamplingRow>& rows,
                         const std::vector<Draw>& last, const std::string& what) {
    const auto V = static_cast<size_t>(columns());
    const int64_t drawable = columns() - 2;
    ops.sample(ops.to_device({logits.data(), std::ssize(rows), columns(), DType::f32}), rows, drawable);
    std::vector<Draw> draws = ops.take_draws();
    EXPECT_EQ(draws.size(), rows.size());
    for (size_t r = 0; r < draws.size(); ++r) {
      const int32_t source = rows[r].draw_source, last_id = source < 0 ? -1 : last[static_cast<size_t>(source)].id;
      const Draw wanted = sample_row(std::span(logits).subspan(r * V, V), rows[r], drawable, last_id);
      EXPECT_EQ(draws[r].id, wanted.id) << fmt::format("row {} of {} columns, {}", r, V, what);
      EXPECT_EQ(draws[r].stops, wanted.stops) << fmt::format("row {} of {} columns, {}", r, V, what);
      EXPECT_EQ(draws[r].logprob, wanted.logprob);
      EXPECT_EQ(draws[r].top.size(), wanted.top.size());
      for (size_t i = 0; i < std::min(draws[r].top.size(), wanted.top.size()); ++i) {
        EXPECT_EQ(draws[r].top[i].id, wanted.top[i].id);
        EXPECT_EQ(draws[r].top[i].logprob, wanted.top[i].logprob);
      }
    }
    return draws;
  }
  Random random{0};
};

TEST_P(SampleOp, DrawsAsSampleRow) {
  const auto ops = test::make_backend(backend());
  for (uint64_t round = 0; round < 4; ++round) {
    const SampleLists lists(random, columns());
    std::vector<SamplingRow> rows = mixed_rows(lists, round);
    rows[4].num_logprobs = rows[6].num_logprobs = 3;
    for (const size_t r : {0, 3, 6}) rows[r].given = static_cast<int32_t>(random.below(columns()));
    draw(*ops, random_logits(rows.size()), rows, {}, fmt::format("round {}", round));
  }
}

// The last draw of a sequence counts as output before the host has read it, whether it stands in the output already or
// not; and the draw itself is compared with the row's stop ids. Settings that only count on are not sent again.
TEST_P(SampleOp, CountsTheLastDrawAndTellsEnds) {
  const auto ops = test::make_backend(backend());
  const SampleLists lists(random, columns());
  std::vector<SamplingRow> rows = mixed_rows(lists, 5);
  std::vector<int32_t> all(static_cast<size_t>(columns()));
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> few = {1, 0, 7};
  for (size_t r = 0; r < rows.size(); ++r)
    rows[r].stop_ids = r % 3 == 2 ? std::span<const int32_t>(few) : r % 3 == 1 ? all : std::span<const int32_t>();
  // The same logits in every step: without the penalties the favourites would be drawn again and again.
  std::vector<float> logits = random_logits(rows.size());
  std::vector<Draw> last;
  int64_t changed = 0;
  for (int step = 0; step < 6; ++step) {
    const std::vector<Draw> draws = draw(*ops, logits, rows, last, fmt::format("step {}", step));
    for (size_t r = 0; r < rows.size(); ++r) {
      if (r % 3 != 2) {
        EXPECT_EQ(draws[r].stops, r % 3 == 1) << r;
      }
      ++rows[r].position;
      if (r < 5) continue;
      rows[r].draw_source = static_cast<int32_t>(r);
      rows[r].presence_penalty = 6;  // whatever is drawn is no favourite in the next step
      if (step > 0) changed += draws[r].id != last[r].id;
    }
    last = draws;
  }
  EXPECT_GT(changed, 5);
}

INSTANTIATE_TEST_SUITE_P(Ops, SampleOp,
                         testing::Combine(testing::ValuesIn(test::backends()),
                                          testing::Values(int64_t{37}, int64_t{1000}, int64_t{20000})),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param);
                           std::ranges::replace(name, '-', '_');
                           return name + "_" + std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace qwill
