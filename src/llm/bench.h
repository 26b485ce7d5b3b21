// What `qwill bench` measures: prefill and decode of one model on one device, against the read bandwidth measured in
// the same run.
#pragma once

#include <string>

#include "base/json.h"
#include "model/model.h"
#include "qwill/options.h"

namespace qwill {

struct BenchOptions {
  LlmOptions llm;  // model "random:SIZE": that size's shapes with random weights made in place
  int64_t prompt_len = 512;
  int64_t gen_len = 128;
  int64_t context = -1;  // tokens before the first timed step; -1: prompt_len
  int64_t batch = 1;
  int repeats = 5;  // of the prefill; the median counts
};

struct BenchReport {
  double prefill_tok_s = 0;
  double decode_tok_s = 0;      // all streams together
  double ms_per_step = 0;       // median of the gen_len steps, at a mean context of context + gen_len / 2
  double mean_ms_per_step = 0;  // of the same steps, for comparisons with programs that report a mean
  double bytes_per_step = 0;    // weights and cache read; of experts, the expected number of different ones
  double achieved_gb_s = 0;     // GB = 1e9 bytes
  double measured_gb_s = 0;  // read bandwidth: of the better of before and after each piece of the decoding, the median
  double ratio = 0;          // median over pieces
  double prefill_tflop_s = 0;   // operations of the prefill's products and attention
  double measured_tflop_s = 0;  // of a large matrix product on the tensor cores; 0: not measured (CPU)
  std::string device;

  Json to_json() const;
  std::string to_text() const;
};

// Random token ids; another `stream` gives others.
std::vector<int32_t> random_prompt(int64_t length, int64_t vocab_size, uint32_t stream);

// Throws Error for what cannot be measured.
BenchReport run_bench(const BenchOptions& options);

}  // namespace qwill
