// Rotary position embedding (Su et al. 2021, arXiv:2104.09864), half-split layout, and its YaRN variant.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ops/batch.h"

namespace qwill {

// Frequencies of one kind: the angle of pair i at position p is inv_freq[i] * p, in float32 as the reference computes
// it; cos and sin are multiplied by attention_factor.
struct RopeSetting {
  std::vector<float> inv_freq;  // [head_dim / 2]
  float attention_factor = 1;
};

using RopeSettings = std::array<RopeSetting, 2>;  // by RopeKind; yarn's is empty when the model has none

RopeSetting plain_rope(int64_t head_dim, double theta);

struct YarnParameters {
  double factor, beta_fast, beta_slow, attention_factor;
  int64_t original_max_position_embeddings;
  bool truncate;
};

// "NTK-by-parts" of arXiv:2309.00071, section 3.2, with the reference's rounding of the correction range
// (transformers, modeling_rope_utils.py, _compute_yarn_parameters).
RopeSetting yarn_rope(int64_t head_dim, double theta, const YarnParameters& yarn);

// cos and sin of one row, [head_dim / 2] each.
void rope_row(const RopeSetting& setting, int32_t position, float* cos, float* sin);

}  // namespace qwill
