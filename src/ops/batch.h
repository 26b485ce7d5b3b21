// One step's rows: which tokens run, where they stand in their sequences, and which pages hold their keys and values.
// Filled by the engine, read by the model and the kernels; it lies below both.
#pragma once

#include <cstdint>
#include <vector>

namespace qwill {

// Which rotary embedding a sequence uses; index into RopeSettings.
enum class RopeKind : uint8_t { plain = 0, yarn = 1 };

// T rows (tokens) of S sequences; rows of one sequence are consecutive, in the order of their positions.
struct Batch {
  // A row's token comes from the host (tokens[t]), or is the one that row draw_source[t] of the last step's draw gave:
  // a device need not wait until the host has read it.
  static constexpr int32_t kFromHost = -1;

  // [T]
  std::vector<int32_t> tokens;
  std::vector<int32_t> draw_source;
  std::vector<int32_t> positions;  // absolute, from 0
  std::vector<int32_t> slots;      // where the row's key and value go: page * page_size + entry

  // [S]
  std::vector<int32_t> row_begin;  // [S + 1]: rows of sequence s are row_begin[s] … row_begin[s + 1] - 1
  std::vector<int32_t> seq_lens;   // keys of the sequence once this step's rows are stored
  std::vector<RopeKind> rope;
  std::vector<int32_t> cache_namespace;  // prefixes are shared only within one
  std::vector<int32_t> adapter;          // 0: none

  // [S, max_pages]: page_table[s * max_pages + i] holds keys i * page_size …; entries past seq_lens are 0.
  std::vector<int32_t> page_table;
  int64_t max_pages = 0;

  std::vector<int32_t> logit_rows;  // [R]: rows whose logits are wanted

  // A decode step: each sequence has one row, whose logits are wanted, and nobody looks at results in between. Such
  // steps come again and again, and a backend may record one to run it as a whole.
  bool is_decode = false;

  int64_t num_rows() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_sequences() const { return static_cast<int64_t>(seq_lens.size()); }
  const int32_t* pages(int64_t s) const { return page_table.data() + s * max_pages; }
};

}  // namespace qwill
