// A whole decode step of one stream as one kernel: its products and attentions in order, with a barrier of the whole
// grid between them, while the weights of all of them flow through one ring a multiprocessor.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/step_items.h"
#include "cuda/kernels/stream.h"

namespace qwill::cuda {

// A float of what leads to an attention (queries, keys and values) or of a part it makes, or of an added row (in
// short steps and with four bits), or two bf16 of another operand; and which op has written it. So these need no fence:
// whoever reads one reads until it is there. Operands, which all blocks read, are looked for behind a barrier all the
// same: polling crowds the writes.
struct alignas(8) StepWord {
  uint32_t value, epoch;
};

// How an op's results are stored, and so when others may read them.
enum class StepStores : uint8_t {
  plain,  // behind a barrier with a fence, which also waits for all weights under way
  words,  // when they are there: a product's queries, keys and values for the attention behind it; and in short steps
          // and with four bits what the product behind them reads. An added row stands in its place too.
};

// A product of one row, or attention of sequence 0, whose one row is row 0.
struct alignas(16) StepOp {
  bool is_attend = false;
  StreamCall product;
  AttendArgs attend;
  int32_t max_tiles = 0;  // of keys, that an attention may meet
  // Set by plan_step.
  StepCut cut;  // of a product's weight
  StepStores stores = StepStores::plain;
  int32_t turn = 0;   // among attentions, or among products that load a norm's weights by themselves
  int32_t to = 0;     // where among the words results go; of vectors in bf16 a word has two
  int32_t from = -1;  // and where a product's operand is, if it is words
};

// What a step leaves behind for the next: in device memory, zero before the first.
struct StepState {
  uint32_t arrivals;  // at the grid's barriers, of all steps
  uint32_t pad[31];
  uint32_t base;  // arrivals when this step began
};

// Of a wait that took too long, one for each warp.
struct alignas(16) StepReport {
  int32_t what;  // StepWait and 1; 0: none
  int32_t op, place;
  int32_t seen;  // a parity; of the grid's barrier, minus what is missing
};
constexpr int32_t kMaxStepBlocks = 256;
constexpr int64_t kMaxStepOps = 512;
// In host memory that the card writes: it stays readable when the kernel has been stopped.
struct StepReports {
  StepReport reports[kMaxStepBlocks * kStepBlockWarps];
};

// 0: chosen by plan_step.
struct StepTuning {
  int32_t warps = 0;      // that multiply, 8 to 11; 8 for e4m3
  int32_t slots = 0;      // of the ring, at least 16
  int32_t in_flight = 0;  // of them under way at once, or as many as max_in_flight allows (step_items.h)
  int32_t quiet = 0;      // the same of items for an op that does not run yet: what blocks hand each other comes first
};

struct StepLaunch {
  // By plan_step.
  StreamFormat format = StreamFormat::bf16;  // of all products, but in a quantised step some may be of bf16
  int32_t num_ops = 0;
  int32_t num_blocks = 0;
  int32_t warps = 0, item_bytes = 0, slots = 0, in_flight = 0, quiet_in_flight = 0;
  // Of items that are fetched to the L2 cache before there is room for them: how many (of all blocks half of what the
  // cache holds), and the time for each, as long as the memory takes.
  int32_t fetch_items = 24;
  uint32_t fetch_cycles = 700;
  int32_t padded_dim = 128;
  bool fp8_cache = false;
  float score_scale = 0;
  int32_t num_kv_heads = 0, group = 0, page_size = 128;
  int32_t max_tiles = 0;  // of the page table
  int64_t qkv_words = 0;  // where among the words queries, keys and values are
  // From the keys in shared memory, and not in their place when these have been read; of e4m3, two tiles at a time.
  bool values_apart = false;
  const int32_t* seq_lens = nullptr;
  const int32_t* slots_of_rows = nullptr;
  const int32_t* page_table = nullptr;
  int32_t max_pages = 0;
  int32_t room_at = 0;  // in shared memory, behind the ring
  int64_t shared_bytes = 0;

  // By the caller; device memory.
  const StepOp* ops = nullptr;  // as plan_step left them
  StepState* state = nullptr;
  StepWord* words = nullptr;       // [step_words], zero before the first step
  StepReports* reports = nullptr;  // null: waits are without end; else after half a second the kernel reports and traps
};

// Completes the ops of a step. False if they cannot run as one kernel: a product's operand is too long, what is normed
// no multiple of four, weights are of
// several formats (but for a head of bf16, which is stored) or have tiles without a pair, attentions differ in shape or
// indices or are not of the product before, the last op is not a product, or there are too few or too many of them.
bool plan_step(std::span<StepOp> ops, const StepTuning& tuning, int32_t num_sms, StepLaunch& launch);
// Of parts, and behind them of queries, keys and values, and of operands.
int64_t step_words(const AttendArgs& args);

cudaError_t prepare_decode_step();
cudaError_t decode_step(const StepLaunch& launch, cudaStream_t stream);

}  // namespace qwill::cuda
