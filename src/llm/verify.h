// The fidelity report: this engine against a reference file (docs/reference-file.md).
#pragma once

#include <cstdint>
#include <vector>

#include "base/json.h"
#include "engine/engine_core.h"
#include "weights/safetensors.h"

namespace qwill {

struct VerifyReport {
  int64_t num_rows = 0;
  // KL(reference || qwill) per row in nats over all V, in double: mean, and half the width of its 95 % interval.
  double mean_kl = 0, kl_interval = 0, max_kl = 0;
  // The reference's own: its bfloat16 run against its float32 run.
  double reference_kl = 0, reference_kl_interval = 0;
  std::vector<double> row_kl, row_reference_kl;
  // |difference of the log-probability of the reference's most likely token|, in nats.
  double mean_logprob_error = 0, p99_logprob_error = 0;
  double top1_agreement = 0;  // share of rows whose most likely token is the same
  // ||qwill - reference|| / ||reference|| of a row of logits.
  double mean_row_error = 0, max_row_error = 0;
  // The same of the residual stream entering layer i, largest over the rows; empty if the file has none.
  std::vector<double> layer_errors;
  int64_t first_divergent_layer = -1;  // the first whose error exceeds layer_tolerance; -1: none
  double layer_tolerance = 0;
  // Greedy continuations: steps compared, and steps that differ although the reference's margin exceeds twice the
  // largest error of a logit. A difference within it ends the comparison of its sequence.
  int64_t greedy_steps = 0, greedy_mismatches = 0, greedy_ties = 0;

  Json to_json() const;
  std::string to_text() const;
};

// Throws Error(invalid) if the file is not a reference file, or of a model with another vocabulary or depth.
VerifyReport verify(EngineCore& engine, const ModelConfig& config, const SafetensorsFile& reference,
                    double layer_tolerance);

}  // namespace qwill
