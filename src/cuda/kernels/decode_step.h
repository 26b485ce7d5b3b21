// A whole decode step of one stream as one kernel: its products and attentions in order, with a barrier of the whole
// grid between them, while the weights of all of them flow through one ring a multiprocessor.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/stream.h"

namespace qwill::cuda {

// A float of what an attention reads, or of a part it makes, and which one it is for: whoever reads it reads until it
// is. So these need no barrier and no fence. (Vectors that all blocks read are better off with a barrier: their polling
// crowds the writes.)
struct alignas(8) StepWord {
  uint32_t value, epoch;
};

// A product of one row, or attention of sequence 0, whose one row is row 0.
struct alignas(16) StepOp {
  bool is_attend = false;
  StreamCall product;
  AttendArgs attend;
  // Set by plan_step.
  bool by_words = false;   // queries, keys and values go from the product to the attention behind it as words
  int32_t num_units = 0;   // of a product: tiles of 8 rows, or pairs of them for silu_mul
  int32_t busy_warps = 0;  // of a block's, that multiply at once
};

// What a step leaves behind for the next: in device memory, zero before the first.
struct StepState {
  uint32_t arrivals;  // at the grid's barriers, of all steps
  uint32_t pad[31];
  uint32_t base;  // arrivals when this step began
  uint32_t num_reports;
};

// Of a wait that took too long.
struct StepReport {
  int32_t written, block, thread, op, what, place, parity, seen, wanted;
};
constexpr int32_t kMaxStepReports = 512;
constexpr int64_t kMaxStepOps = 512;
// In host memory that the card writes: it stays readable when the kernel has been stopped.
struct StepReports {
  StepReport reports[kMaxStepReports];
};

// 0: chosen by plan_step.
struct StepTuning {
  int32_t warps = 8;            // that multiply, 8 to 11
  int32_t slots = 0;            // of the ring, at least 16
  int32_t in_flight = 9;        // of them under way at once, or as many as max_in_flight allows (step_items.h)
  int32_t quiet_in_flight = 3;  // of items for an op that does not run yet: what blocks hand each other comes first
};

struct StepLaunch {
  // By plan_step.
  int32_t num_ops = 0;
  int32_t num_blocks = 0;
  int32_t warps = 0, slots = 0, in_flight = 0, quiet_in_flight = 0;
  int32_t padded_dim = 128;
  float score_scale = 0;
  int32_t num_kv_heads = 0, group = 0, page_size = 128;
  int32_t max_tiles = 0;  // of the page table
  int64_t qkv_words = 0;  // where among the words queries, keys and values are
  const int32_t* seq_lens = nullptr;
  const int32_t* slots_of_rows = nullptr;
  const int32_t* page_table = nullptr;
  int32_t max_pages = 0;
  int64_t shared_bytes = 0;

  // By the caller; device memory.
  const StepOp* ops = nullptr;  // as plan_step left them
  StepState* state = nullptr;
  StepWord* words = nullptr;       // [step_words], zero before the first step
  StepReports* reports = nullptr;  // null: waits are without end; else after half a second the kernel reports and traps
};

// Completes the ops of a step. False if they cannot run as one kernel: a product's operand is too long, attentions
// differ in shape or indices, or there is but one op.
bool plan_step(std::span<StepOp> ops, const StepTuning& tuning, int32_t num_sms, StepLaunch& launch);
// Of parts, and behind them of queries, keys and values.
int64_t step_words(const AttendArgs& args);

cudaError_t prepare_decode_step();
cudaError_t decode_step(const StepLaunch& launch, cudaStream_t stream);

}  // namespace qwill::cuda
