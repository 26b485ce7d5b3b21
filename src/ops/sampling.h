// Drawing a token from a row of logits.
//
// Order: repetition penalty, presence and frequency penalties, bias; temperature; top-k, top-p, min-p; draw. Log-
// probabilities are of the raw distribution over all V columns, before any of these. Ties go to the lowest id.
//
// Randomness is counter-based (Philox4x32-10, Salmon et al. 2011), keyed by the seed and counted by (choice,
// position, token id): each token of the vocabulary has its own uniform number, and the draw is the largest of
// logit / temperature + Gumbel noise among the tokens that survived. So a draw depends on the request alone, and is
// the same after preemption, in another order or in another process.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "qwill/request.h"

namespace qwill {

struct SamplingRow {
  double temperature = 0;  // 0: greedy
  int64_t top_k = 0;       // 0: off
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;  // prompt and output count (Keskar et al. 2019, arXiv:1909.05858)
  double presence_penalty = 0;    // output counts
  double frequency_penalty = 0;   // output counts
  std::span<const std::pair<int32_t, float>> logit_bias = {};
  std::span<const int32_t> prompt = {};  // ids, read only where a penalty is set
  std::span<const int32_t> output = {};
  int32_t draw_source = -1;  // the output's last token is what this row of the last step drew (Batch::draw_source)
  std::span<const int32_t> stop_ids = {};
  uint64_t seed = 0;
  uint32_t choice = 0;        // which of the n answers to one prompt
  uint64_t position = 0;      // of the drawn token in its sequence
  int32_t num_logprobs = -1;  // -1: none; 0: of the drawn token; k: of the k most likely as well
  int32_t given = -1;         // not to be drawn: this is the token. Only its log-probability is wanted
};

// The plain meaning of Ops::sample for one row of V logits, of which the first num_drawable may be drawn. If none of
// them is above -infinity, the draw is id 0. `last_id`: what draw_source stands for, if it names a row.
Draw sample_row(std::span<const float> logits, const SamplingRow& row, int64_t num_drawable, int32_t last_id = -1);

// Fills in the draw's log-probability and those of the `count` most likely tokens, from the raw logits.
void add_logprobs(Draw& draw, std::span<const float> logits, int32_t count);

// The counter-based generator itself: four random words of a counter and a key.
std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Uniform in (0, 1), both ends excluded, 32 bits: word token % 4 of Philox4x32-10 with key (seed) and counter
// (token / 4, position, choice). A float could not hold it: near 1 it would round to 1, whose Gumbel noise is infinite.
double philox_uniform(uint64_t seed, uint32_t choice, uint64_t position, uint32_t token);

// log(sum(exp(logits))) with double sums.
double log_sum_exp(std::span<const float> logits);

}  // namespace qwill
