// The kernels of one instruction set as a table of function pointers. Every target in targets/ exports one; dispatch.h
// picks. Kernels see one task each: threads split outputs, never sums.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/panels.h"

namespace qwill::cpu {

// y[m, n] (+)= sum_k x[m, k] w[n, k] for n outputs of one row segment.
struct LinearTask {
  const void* w;  // row-major [n, k], or panels of so many rows
  int64_t n;
  int64_t k;
  const void* operand;  // m packed rows of k
  int64_t m;
  float* y;  // y[i * ldy + j], i < m, j < n
  int64_t ldy;
  bool add;
  void* scratch = nullptr;         // panels: LinearKernel::scratch_bytes
  const uint8_t* books = nullptr;  // panels whose codes are looked up
  bool fetch_ahead = false;        // panels of less than eight bits: by the program, not by the processor alone
};

// Weights are prefetched so far ahead where one row of activations waits for them.
constexpr int64_t kPrefetchBytes = 2048;
constexpr int64_t kPackRows = 16;

// Groups of a row of activations that meets panels: an even number.
constexpr int64_t operand_groups(int64_t k) { return (k + 2 * kGroupCols - 1) / (2 * kGroupCols) * 2; }

struct LinearKernel {
  // Writes rows first … first + count - 1 of an operand of m rows from x [count, k]. first is a multiple of kPackRows.
  void (*pack)(const float* x, int64_t k, int64_t first, int64_t count, int64_t m, void* operand);
  void (*run)(const LinearTask& task);
  struct {
    int64_t cols, bytes;  // so many columns of a row, or what is left of them, take so many bytes
  } operand;
  int64_t row_multiple;        // segments and tasks must be multiples of it
  int64_t col_multiple;        // k must be a multiple of it
  int64_t expanded_bytes = 0;  // of a group of a panel, expanded for many rows

  int64_t operand_row_bytes(int64_t k) const { return (k + operand.cols - 1) / operand.cols * operand.bytes; }
  int64_t scratch_bytes(int64_t k) const { return operand_groups(k) * expanded_bytes; }
};

constexpr int64_t kMaxHeadDim = 256;

// Where one KV head's key and value of one token are kept.
struct KvSlot {
  std::byte* keys;    // of the page: [dim, page_size]
  std::byte* values;  // [page_size, dim]
  int64_t entry;      // within the page
  int64_t page_size;
  int64_t dim;  // padded
  DType dtype;
};

// One KV head's pages of one sequence.
struct KvPages {
  const std::byte* data;  // the head's keys in page 0
  const int32_t* pages;   // of the sequence, in order
  int64_t page_stride;    // bytes
  int64_t values_offset;  // bytes from a page's keys to its values
  int64_t page_size;
  int64_t dim;  // padded
  DType dtype;
};

// Queries of one KV head against groups of tiles of one sequence.
struct AttendTask {
  const float* q;            // [num_items, dim], normed and rotated
  const int32_t* positions;  // [num_items], ascending: an item sees keys 0 … its position
  int64_t num_items;
  KvPages kv;
  float scale;
  int64_t first_group, last_group;  // the last is not included, and has keys that the last item sees
  float* scratch;                   // attend_scratch_floats(num_items, dim)
  float* out;                       // [num_items, dim]; where all groups are the task's
  float* parts;                     // [groups, num_items, partial_floats(dim)]: what each group gives; else null
};

struct Kernels {
  const char* name;
  LinearKernel f32_weights;   // f32 operands
  LinearKernel f16_weights;   // f32 operands
  LinearKernel bf16_weights;  // f32 operands
  LinearKernel bf16_rounded;  // bf16 weights, operands rounded to bf16
  LinearKernel bf16_tiles;    // the same by matrix tiles, where the shape allows; run is null where there are none
  std::array<LinearKernel, kNumPanelFormats> panels;  // by PanelFormat; operands of eight bits
  // 64 columns of a row to codes and scales of panels.
  void (*quantize_int8)(const float* x, PlainBlock& block);
  void (*quantize_int6)(const float* x, PlainBlock& block);
  void (*quantize_int4)(const float* x, PlainBlock& block);
  // y = x / sqrt(mean(x^2) + eps) * weight
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* y);
  // out = silu(gate) * up
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  // y += scale * x
  void (*add_scaled)(const float* x, float scale, int64_t n, float* y);
  void (*store_kv)(const float* key, const float* value, const KvSlot& slot);
  void (*attend)(const AttendTask& task);
  // Out of one item's parts, `stride` floats from group to group, which it uses up.
  void (*merge_groups)(float* parts, int64_t stride, int64_t num_groups, int64_t dim, float* out);
  // Reads all of it (bytes: a multiple of 4096) and returns something that depends on every byte.
  float (*read_all)(const float* data, int64_t bytes);
};

constexpr int64_t kPartialHead = 16;  // floats before a partial's sums: its largest score and its denominator
constexpr int64_t partial_floats(int64_t dim) { return kPartialHead + dim; }
constexpr int64_t attend_scratch_floats(int64_t num_items, int64_t dim) { return num_items * 2 * partial_floats(dim); }

}  // namespace qwill::cpu
