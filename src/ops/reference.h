// The slow clear truth: every op as plain loops with double sums. Backends are tested against it.
#pragma once

#include <memory>

#include "ops/ops.h"

namespace qwill {

std::unique_ptr<Ops> make_reference_ops();

namespace reference {

// y[c] = x[c] / sqrt(mean(x^2) + eps) * weight[c]
void rms_norm(std::span<const float> x, std::span<const float> weight, double eps, std::span<float> y);

// Rotates a head in place: (a, b) = (x[i], x[i + D/2]) -> (a cos_i - b sin_i, b cos_i + a sin_i).
void rotate(std::span<float> head, const float* cos, const float* sin);

double silu(double x);

// The chosen experts of one row, ascending by id, with their weights.
struct Route {
  int32_t expert;
  float weight;
};
std::vector<Route> route(std::span<const float> router_logits, int64_t num_experts_per_tok, bool norm_topk_prob);

}  // namespace reference
}  // namespace qwill
