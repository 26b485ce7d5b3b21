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

// One row's settings, in device memory. They may change between replays of a captured launch.
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
};

constexpr int64_t kMaxSampledColumns = 8 * 24576;

// Scratch memory of `sample`; contents need not survive between calls.
size_t sample_workspace_bytes(int64_t num_rows, int64_t num_drawable);

// ids[r] = the token that row r draws among its first num_drawable columns; host_ids[r] too, in host memory that the
// card can write, if it is given. Logits [num_rows, ld] are only read; ld is a multiple of 4 and logits are 16-byte
// aligned.
cudaError_t sample(int32_t* ids, int32_t* host_ids, const float* logits, int64_t ld, int64_t num_rows,
                   int64_t num_drawable, const SampleSettings* settings, const TokenAdjustment* adjustments,
                   void* workspace, cudaStream_t stream);

}  // namespace qwill::cuda
