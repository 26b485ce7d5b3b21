// A whole decode step of one stream as one kernel: its products and attentions in order, handing vectors on through
// words that say themselves when they are there, while the weights of all of them flow through one ring a
// multiprocessor.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/stream.h"

namespace qwill::cuda {

// A value and the epoch of the op that wrote it: whoever waits for a value reads its word until the epoch is right. So
// nothing else has to be waited for, or to be ordered.
struct alignas(8) StepWord {
  uint32_t value, epoch;
};

// What an op of the step has written, from the word `at` on.
struct StepVector {
  int32_t at = -1, op = -1;
};

// A product of one row, or attention of sequence 0, whose one row is row 0.
struct alignas(16) StepOp {
  bool is_attend = false;
  StreamCall product;
  AttendArgs attend;
  // Set by plan_step. What the op reads (x, a or qkv) and what it adds to (y) of this step's results; else it lies where
  // it was before the step. Where its own result goes: a float a word, or two bf16.
  StepVector input, before;
  int32_t result = -1;
  bool is_final = false;   // nothing in the step writes its y or out again: it gets the result as well
  int32_t num_units = 0;   // of a product: tiles of 8 rows, or pairs of them for silu_mul
  int32_t busy_warps = 0;  // of a block's, that multiply at once
};

constexpr int32_t kMaxStepBlocks = 256, kMaxStepOps = 512;
// Vectors that ops hand each other: an op's has the place of its number among so many (decode_step.cu says why no place
// is used again too early), and up to so many words.
constexpr int32_t kStepVectors = 16, kStepVectorWords = 16384, kStepWords = kStepVectors * kStepVectorWords;

// What a step leaves behind for the next: in device memory, zero before the first.
struct StepState {
  uint32_t steps[kMaxStepBlocks];  // taken, as each block counts them
  uint32_t num_reports;
};

// Of a wait that took too long.
struct StepReport {
  int32_t written, block, thread, op, what, place, parity, seen, wanted;
};
constexpr int32_t kMaxStepReports = 512;
// In host memory that the card writes: it stays readable when the kernel has been stopped.
struct StepReports {
  StepReport reports[kMaxStepReports];
};

// 0: chosen by plan_step.
struct StepTuning {
  int32_t warps = 12;     // that multiply, 8 to 15
  int32_t slots = 0;      // of the ring, at least 16
  int32_t in_flight = 6;  // of them under way at once, or as many as max_in_flight allows (step_items.h)
};

struct StepLaunch {
  // By plan_step.
  int32_t num_ops = 0;
  int32_t num_blocks = 0;
  int32_t warps = 0, slots = 0, in_flight = 0;
  int32_t padded_dim = 128;
  float score_scale = 0;
  int32_t num_kv_heads = 0, group = 0, page_size = 128;
  int32_t max_tiles = 0;  // of the page table
  const int32_t* seq_lens = nullptr;
  const int32_t* slots_of_rows = nullptr;
  const int32_t* page_table = nullptr;
  int32_t max_pages = 0;
  int64_t shared_bytes = 0;

  // By the caller; device memory.
  const StepOp* ops = nullptr;  // as plan_step left them
  StepState* state = nullptr;
  StepWord* words = nullptr;       // [kStepWords], zero before the first step
  StepWord* parts = nullptr;       // [step_part_words], the same
  StepReports* reports = nullptr;  // null: waits are without end; else after half a second the kernel reports and traps
};

// Completes the ops of a step. False if they cannot run as one kernel: a product's operand is too long, attentions
// differ in shape or indices, or there is but one op.
bool plan_step(std::span<StepOp> ops, const StepTuning& tuning, int32_t num_sms, StepLaunch& launch);
int64_t step_part_words(const AttendArgs& args);

cudaError_t prepare_decode_step();
cudaError_t decode_step(const StepLaunch& launch, cudaStream_t stream);

}  // namespace qwill::cuda
