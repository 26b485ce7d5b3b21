// Drawing one token per row of logits on the device, by the rules of ops/sampling.h.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace qwill::cuda {

// What penalties and bias do to one token of a row.
struct TokenAdjustment {
  int32_t id;
  int32_t output_count;  // how often it stands in the output
  uint32_t seen;         // 1: it stands in the prompt or the output
  float bias;
};

// One row's settings, in device memory.
struct SampleSettings {
  double temperature;  // <= 0: greedy
  double top_p;        // >= 1: off
  double min_p;        // <= 0: off
  double presence_penalty;
  double frequency_penalty;
  uint64_t seed;
  uint64_t position;
  uint32_t choice;
  int32_t top_k;  // <= 0: off
  float repetition_penalty;
  int32_t first_adjustment;  // the row's adjustments, sorted by id, each id once
  int32_t num_adjustments;
  int32_t draw_source;  // row of the last step's draws whose token is one more of the output; -1: none
  int32_t first_stop;   // the row's stop ids
  int32_t num_stops;
};

// How a draw lies in device memory: one of the row's stop ids as the complement of its id, below 0.
__host__ __device__ inline int32_t id_of_draw(int32_t draw) { return draw < 0 ? ~draw : draw; }
__host__ __device__ inline bool draw_stops(int32_t draw) { return draw < 0; }

// Of all rows, in device memory.
struct SampledRows {
  const SampleSettings* rows = nullptr;
  const TokenAdjustment* adjustments = nullptr;
  const int32_t* stop_ids = nullptr;
  uint32_t steps = 0;  // to be added to the low words of positions
};

constexpr int64_t kMaxSampledColumns = 8 * 24576;

// Scratch memory of `sample`; contents need not survive between calls.
size_t sample_workspace_bytes(int64_t num_rows, int64_t num_drawable);

// draws[r] = the token that row r draws among its first num_drawable columns; before that the last step's draws stand
// there. host_draws[r] too, in host memory that the card can write, if it is given. Logits [num_rows, ld] are only
// read; ld is a multiple of 4 and logits are 16-byte aligned.
cudaError_t sample(int32_t* draws, int32_t* host_draws, const float* logits, int64_t ld, int64_t num_rows,
                   int64_t num_drawable, const SampledRows& sampled, void* workspace, cudaStream_t stream);

}  // namespace qwill::cuda
