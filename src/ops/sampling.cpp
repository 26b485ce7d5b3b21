#include "ops/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

namespace qwill {
namespace {

struct Candidate {
  int32_t id;
  double score;  // adjusted logit, later divided by the temperature
};

// Higher score first; equal scores by id.
bool better(const Candidate& a, const Candidate& b) { return a.score > b.score || (a.score == b.score && a.id < b.id); }

bool needs_adjusting(const SamplingRow& row) {
  return row.repetition_penalty != 1 || row.presence_penalty != 0 || row.frequency_penalty != 0 ||
         !row.logit_bias.empty();
}

// Applies penalties and bias to a copy of the logits.
void adjust(std::vector<float>& logits, const SamplingRow& row, int32_t last_id) {
  const auto size = static_cast<int32_t>(logits.size());
  std::vector<int32_t> output(row.output.begin(), row.output.end());
  if (row.draw_source >= 0) output.push_back(last_id);
  const auto at = [&](int32_t id) -> float& { return logits[static_cast<size_t>(id)]; };
  if (row.repetition_penalty != 1) {
    std::vector<int32_t> seen(row.prompt.begin(), row.prompt.end());
    seen.insert(seen.end(), output.begin(), output.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    const auto penalty = static_cast<float>(row.repetition_penalty);
    for (const int32_t id : seen)
      if (id < size) at(id) = at(id) < 0 ? at(id) * penalty : at(id) / penalty;
  }
  if (row.presence_penalty != 0 || row.frequency_penalty != 0) {
    std::unordered_map<int32_t, int64_t> counts;
    for (const int32_t id : output) ++counts[id];
    for (const auto& [id, count] : counts)
      if (id < size)
        at(id) -= static_cast<float>(row.presence_penalty + row.frequency_penalty * static_cast<double>(count));
  }
  for (const auto& [id, bias] : row.logit_bias)
    if (id >= 0 && id < size) at(id) += bias;
}

int32_t argmax(std::span<const float> logits) {
  size_t best = 0;
  float highest = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > highest) {
      highest = logits[i];
      best = i;
    }
  }
  return static_cast<int32_t>(best);
}

// The candidates that survive top-k, top-p and min-p. Sorted, best first, if any of them is on.
std::vector<Candidate> survivors(std::span<const float> logits, const SamplingRow& row) {
  const double temperature = std::max(row.temperature, 1e-30);  // below it logits would become infinite, and equal
  std::vector<Candidate> all;
  all.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > -std::numeric_limits<float>::infinity())
      all.push_back({static_cast<int32_t>(i), static_cast<double>(logits[i]) / temperature});
  const bool top_p = row.top_p < 1;
  if (row.top_k > 0 && row.top_k < static_cast<int64_t>(all.size())) {
    std::nth_element(all.begin(), all.begin() + row.top_k - 1, all.end(), better);
    all.resize(static_cast<size_t>(row.top_k));
  }
  if (all.empty() || (!top_p && row.min_p <= 0)) return all;
  std::sort(all.begin(), all.end(), better);
  const double highest = all.front().score;
  const auto weight = [&](const Candidate& c) { return std::exp(c.score - highest); };
  if (top_p) {
    double total = 0;
    for (const Candidate& c : all) total += weight(c);
    double before = 0;  // probability of all better candidates
    size_t kept = 0;
    while (kept < all.size() && (kept == 0 || before < row.top_p * total)) before += weight(all[kept++]);
    all.resize(kept);
  }
  if (row.min_p > 0)
    while (all.size() > 1 && weight(all.back()) < row.min_p) all.pop_back();
  return all;
}

int32_t draw_gumbel(const std::vector<Candidate>& candidates, const SamplingRow& row) {
  int32_t best = candidates.front().id;
  double highest = -std::numeric_limits<double>::infinity();
  for (const Candidate& c : candidates) {
    const double u = philox_uniform(row.seed, row.choice, row.position, static_cast<uint32_t>(c.id));
    const double noisy = c.score - std::log(-std::log(u));
    if (noisy > highest || (noisy == highest && c.id < best)) {
      highest = noisy;
      best = c.id;
    }
  }
  return best;
}

int32_t draw_token(std::span<const float> logits, const SamplingRow& row, int64_t num_drawable, int32_t last_id) {
  if (row.given >= 0) return row.given;
  std::span<const float> drawable = logits.first(static_cast<size_t>(num_drawable));
  std::vector<float> adjusted;
  if (needs_adjusting(row)) {
    adjusted.assign(drawable.begin(), drawable.end());
    adjust(adjusted, row, last_id);
    drawable = adjusted;
  }
  if (row.temperature <= 0) return argmax(drawable);
  const std::vector<Candidate> candidates = survivors(drawable, row);
  return candidates.empty() ? 0 : draw_gumbel(candidates, row);
}

}  // namespace

std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

double philox_uniform(uint64_t seed, uint32_t choice, uint64_t position, uint32_t token) {
  const std::array<uint32_t, 4> words =
      philox4x32_10({token / 4, static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), choice},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return (words[token % 4] + 0.5) * 0x1p-32;
}

double log_sum_exp(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return highest + std::log(sum);
}

void add_logprobs(Draw& draw, std::span<const float> logits, int32_t count) {
  const double total = log_sum_exp(logits);
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(id)]) - total);
  };
  draw.logprob = logprob(draw.id);
  if (count <= 0) return;
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto k = std::min<int64_t>(count, static_cast<int64_t>(ids.size()));
  std::partial_sort(ids.begin(), ids.begin() + k, ids.end(), [&](int32_t a, int32_t b) {
    const float la = logits[static_cast<size_t>(a)], lb = logits[static_cast<size_t>(b)];
    return la > lb || (la == lb && a < b);
  });
  for (int64_t i = 0; i < k; ++i)
    draw.top.push_back({ids[static_cast<size_t>(i)], logprob(ids[static_cast<size_t>(i)])});
}

Draw sample_row(std::span<const float> logits, const SamplingRow& row, int64_t num_drawable, int32_t last_id) {
  Draw draw;
  draw.id = draw_token(logits, row, num_drawable, last_id);
  draw.stops = row.given < 0 && std::ranges::find(row.stop_ids, draw.id) != row.stop_ids.end();
  if (row.num_logprobs >= 0) add_logprobs(draw, logits, row.num_logprobs);
  return draw;
}

}  // namespace qwill
