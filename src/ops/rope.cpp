#include "ops/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace qwill {

RopeSetting plain_rope(int64_t head_dim, double theta) {
  RopeSetting setting;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    setting.inv_freq.push_back(1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent))));
  }
  return setting;
}

RopeSetting yarn_rope(int64_t head_dim, double theta, const YarnParameters& yarn) {
  RopeSetting setting = plain_rope(head_dim, theta);
  setting.attention_factor = static_cast<float>(yarn.attention_factor);
  // The pair that turns `rotations` times over the original length.
  const auto pair_of = [&](double rotations) {
    return static_cast<double>(head_dim) *
           std::log(static_cast<double>(yarn.original_max_position_embeddings) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = pair_of(yarn.beta_fast), high = pair_of(yarn.beta_slow);
  if (yarn.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const float ramp =
        std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
    const float keep = 1.0f - ramp;  // the share that stays as trained
    float& inv_freq = setting.inv_freq[static_cast<size_t>(i)];
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const float period = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    const float interpolated = 1.0f / (static_cast<float>(yarn.factor) * period);
    inv_freq = interpolated * (1.0f - keep) + inv_freq * keep;
  }
  return setting;
}

void rope_row(const RopeSetting& setting, int32_t position, float* cos, float* sin) {
  for (size_t i = 0; i < setting.inv_freq.size(); ++i) {
    const float angle = setting.inv_freq[i] * static_cast<float>(position);
    // In double, so that the result is the correctly rounded one nearly always, whatever the C library.
    cos[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * setting.attention_factor;
    sin[i] = static_cast<float>(std::sin(static_cast<double>(angle))) * setting.attention_factor;
  }
}

}  // namespace qwill
