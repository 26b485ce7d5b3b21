// How matrices and the key/value cache lie in device memory.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define QWILL_HOST_DEVICE __host__ __device__
#else
#define QWILL_HOST_DEVICE
#endif

namespace qwill::cuda {

// An atom is 8 rows by 64 columns of bf16: each row 128 bytes, its eight 16-byte chunks permuted so that chunk c of row
// r stands at c ^ (r % 8). In shared memory that is what wgmma calls the 128-byte swizzle, and ldmatrix reads it
// without bank conflicts; so atoms are copied as they are, whoever multiplies.
constexpr int64_t kAtomRows = 8;
constexpr int64_t kAtomCols = 64;
constexpr int64_t kAtomElements = kAtomRows * kAtomCols;
constexpr int64_t kAtomBytes = 2 * kAtomElements;

// Of element (row, col) within its atom.
QWILL_HOST_DEVICE constexpr int64_t offset_in_atom(int64_t row, int64_t col) {
  return row % 8 * 64 + ((col % 64 / 8) ^ (row % 8)) * 8 + col % 8;
}

// A placed bf16 matrix [rows, cols]: atoms [row block][column block], zeros beyond its edges. Eight rows over all
// columns are one contiguous run, which one multiplying warp streams.
struct MatrixLayout {
  int64_t row_blocks = 0;
  int64_t col_blocks = 0;

  QWILL_HOST_DEVICE constexpr int64_t offset(int64_t row, int64_t col) const {
    return (row / 8 * col_blocks + col / 64) * kAtomElements + offset_in_atom(row, col);
  }
  QWILL_HOST_DEVICE constexpr int64_t bytes() const { return row_blocks * col_blocks * kAtomBytes; }
  QWILL_HOST_DEVICE constexpr int64_t padded_cols() const { return col_blocks * kAtomCols; }
};

// The same of e4m3: an atom is 8 rows by 128 columns, its 128-byte rows permuted by the same chunks of 16 bytes.
constexpr int64_t kFp8AtomCols = 128;

struct Fp8Layout {
  int64_t row_blocks = 0;
  int64_t col_blocks = 0;

  // In bytes, which are elements.
  QWILL_HOST_DEVICE constexpr int64_t offset(int64_t row, int64_t col) const {
    return (row / 8 * col_blocks + col / 128) * kAtomBytes + row % 8 * 128 + ((col % 128 / 16) ^ (row % 8)) * 16 +
           col % 16;
  }
  QWILL_HOST_DEVICE constexpr int64_t bytes() const { return row_blocks * col_blocks * kAtomBytes; }
  QWILL_HOST_DEVICE constexpr int64_t rows() const { return row_blocks * kAtomRows; }
  QWILL_HOST_DEVICE constexpr int64_t padded_cols() const { return col_blocks * kFp8AtomCols; }
};

// A layer's pages: [page][kv head][keys, values][64-column block of head_dim][page_size][64] of bf16, rows swizzled as
// in an atom (a page's rows are whole atoms). head_dim is padded to a multiple of 64 with zeros.
struct KvLayout {
  void* data = nullptr;
  int32_t num_kv_heads = 0;
  int32_t padded_dim = 0;
  int32_t page_size = 0;

  QWILL_HOST_DEVICE constexpr int64_t block_elements() const { return static_cast<int64_t>(page_size) * padded_dim; }
  // Element offset of a page's keys of one head; its values follow.
  QWILL_HOST_DEVICE constexpr int64_t keys(int64_t page, int64_t head) const {
    return (page * num_kv_heads + head) * 2 * block_elements();
  }
  QWILL_HOST_DEVICE constexpr int64_t values(int64_t page, int64_t head) const {
    return keys(page, head) + block_elements();
  }
  // Offset of (entry, dim) from either.
  QWILL_HOST_DEVICE constexpr int64_t in_block(int64_t entry, int64_t dim) const {
    return dim / 64 * (static_cast<int64_t>(page_size) * 64) + entry / 8 * kAtomElements + offset_in_atom(entry, dim);
  }
};

}  // namespace qwill::cuda
