// Mixture of experts: which rows go to which expert, and back.
//
// A pair is a (token, chosen expert); pairs are stored as [T, k], experts ascending within a token. Permuted rows are
// the pairs sorted by (expert, token): those of one expert are consecutive, cut into tiles of at most tile_rows for a
// grouped product. Everything is counted on the device, in integers whose order of summing cannot show.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace qwill::cuda {

constexpr int64_t kMaxExperts = 512;
constexpr int64_t kMaxExpertsPerToken = 16;

// Permuted rows first_row … first_row + num_rows - 1 meet this expert's weights.
struct ExpertTile {
  int32_t expert;
  int32_t first_row;
  int32_t num_rows;
};

// Arrays in device memory that `route` fills; P = T k.
struct ExpertPlan {
  int32_t* expert;     // [T, k]
  float* weight;       // [T, k]
  int32_t* permuted;   // [T, k]: the pair's permuted row
  int32_t* row_token;  // [P]: the token of a permuted row
  ExpertTile* tiles;   // [max_expert_tiles], ascending
  int32_t* num_tiles;  // [1]
  int32_t* scratch;    // [expert_scratch_size]
};

// What the number of tiles cannot exceed.
constexpr int64_t max_expert_tiles(int64_t num_pairs, int64_t num_experts, int64_t tile_rows) {
  return num_pairs / tile_rows + (num_pairs < num_experts ? num_pairs : num_experts);
}
// In int32.
constexpr int64_t expert_scratch_size(int64_t num_tokens, int64_t num_experts) {
  return num_experts * ((num_tokens + 31) / 32 + 1);
}

// Softmax over each row of logits [T, E] in f32, its k largest probabilities (ties: the lower id), divided by their sum
// if norm_topk_prob; then the plan. One launch for up to 32 tokens, three beyond.
cudaError_t route(const ExpertPlan& plan, const float* logits, int64_t num_tokens, int64_t num_experts,
                  int64_t num_experts_per_tok, bool norm_topk_prob, int64_t tile_rows, cudaStream_t stream);

// Row r of `out` is row row_token[r] of `in`: row_bytes of it, a multiple of 16, as are the strides and addresses.
cudaError_t gather_rows(void* out, int64_t out_stride_bytes, const void* in, int64_t in_stride_bytes, int64_t row_bytes,
                        const int32_t* row_token, int64_t num_rows, cudaStream_t stream);

// x[t, c] += sum over t's experts, ascending, of weight * out[permuted row, c], summed by FMA from zero. x [T, C] and
// out [P, C] f32.
cudaError_t combine_experts(float* x, const float* out, const ExpertPlan& plan, int64_t num_tokens, int64_t num_cols,
                            int64_t num_experts_per_tok, cudaStream_t stream);

}  // namespace qwill::cuda
