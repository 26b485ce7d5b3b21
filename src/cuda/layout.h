// How matrices and the key/value cache lie in device memory.
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "tensor/int4.h"

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

  QWILL_HOST_DEVICE static constexpr Fp8Layout of(const MatrixLayout& layout) {
    return {layout.row_blocks, (layout.col_blocks + 1) / 2};
  }
  // In bytes, which are elements.
  QWILL_HOST_DEVICE constexpr int64_t offset(int64_t row, int64_t col) const {
    return (row / 8 * col_blocks + col / 128) * kAtomBytes + row % 8 * 128 + ((col % 128 / 16) ^ (row % 8)) * 16 +
           col % 16;
  }
  QWILL_HOST_DEVICE constexpr int64_t bytes() const { return row_blocks * col_blocks * kAtomBytes; }
  QWILL_HOST_DEVICE constexpr int64_t rows() const { return row_blocks * kAtomRows; }
  QWILL_HOST_DEVICE constexpr int64_t padded_cols() const { return col_blocks * kFp8AtomCols; }
};

// A placed matrix of four-bit weights (tensor/int4.h): blocks of 8 rows by 128 columns, [row block][column block],
// levels that stand for 0 beyond its edges. Eight rows over all columns are one contiguous run here too.
//
// A block is 512 bytes of levels q, and behind them the scales of its groups, [row][group] of bf16. Lane l of a warp
// finds in 16 bytes what two times mma.m16n8k16 want of it: its word w is of row l / 4 and columns 32 w to 32 w + 31,
// of each sixteen of these four: 4 (l % 4) and on, which a lane can read of an operand at once. (Which columns of
// sixteen a lane multiplies makes no difference to their sum.) Bits 8 s + 4 i + 3 to 8 s + 4 i + 6 of the word are of
// sixteen s column 4 (l % 4) + 2 i, and 16 bits higher (bit 0 follows bit 31) is the column after that. Bits 3 to 6 are
// the first ones of a bf16 number's fraction.
struct Int4Layout {
  int64_t row_blocks = 0;
  int64_t col_blocks = 0;

  static constexpr int64_t kBlockCols = 128;
  static constexpr int64_t kLevelBytes = 8 * kBlockCols / 2;
  static constexpr int64_t kRowScales = kBlockCols / kInt4Group;
  static constexpr int64_t kBlockBytes = kLevelBytes + 8 * kRowScales * 2;

  QWILL_HOST_DEVICE static constexpr Int4Layout of(const MatrixLayout& layout) {
    return {layout.row_blocks, (layout.col_blocks + 1) / 2};
  }
  QWILL_HOST_DEVICE constexpr int64_t block(int64_t row_block, int64_t col_block) const {
    return (row_block * col_blocks + col_block) * kBlockBytes;
  }
  QWILL_HOST_DEVICE constexpr int64_t bytes() const { return row_blocks * col_blocks * kBlockBytes; }

  // Products that are stored or added (not gated ones, nor those of experts) take the columns in slices, each summed
  // from a fresh start, and add these in order: whatever multiplies them, so that it may take slices at once. In one
  // run the K / 16 products of a tile, each of which waits for the one before, would take longer than the weight's way
  // from memory. As few slices as have at most 3200 columns, but two from 2048 columns on, of as many blocks each; the
  // last may have less.
  static constexpr int64_t kMostSliceBlocks = 3200 / kBlockCols, kLeastHalved = 2048 / kBlockCols;
  QWILL_HOST_DEVICE constexpr int64_t slices() const {
    const int64_t least = (col_blocks + kMostSliceBlocks - 1) / kMostSliceBlocks;
    return least == 1 && col_blocks >= kLeastHalved ? 2 : least;
  }
  QWILL_HOST_DEVICE constexpr int64_t slice_blocks() const { return (col_blocks + slices() - 1) / slices(); }

  // Within a block: the byte offset of a column's word, by how much the level is rotated left in it; the byte offset of
  // its group's scale.
  QWILL_HOST_DEVICE static constexpr int64_t word(int64_t row, int64_t col) {
    return (row * 4 + col % 16 / 4) * 16 + col / 32 * 4;
  }
  QWILL_HOST_DEVICE static constexpr int32_t shift(int64_t col) {
    return static_cast<int32_t>(3 + col % 32 / 16 * 8 + col % 4 / 2 * 4 + col % 2 * 16);
  }
  QWILL_HOST_DEVICE static constexpr int64_t scale(int64_t row, int64_t col) {
    return kLevelBytes + (row * kRowScales + col / kInt4Group) * 2;
  }
};

// A layer's pages: [page][kv head][keys, values][64-column block of head_dim][page_size][64] of bf16, rows swizzled as
// in an atom (a page's rows are whole atoms). head_dim is padded to a multiple of 64 with zeros.
//
// Of e4m3: [page][kv head][keys, values][page_size][128], head_dim padded to 128, the 128-byte rows swizzled as those
// of an atom. Sixteen dimensions are permuted within their 16 bytes, so that whoever loads matrices of 16-bit elements
// finds what mma.sync wants: of a key the four that a lane multiplies side by side, of a value dimensions i and i + 8.
struct KvLayout {
  void* data = nullptr;
  int32_t num_kv_heads = 0;
  int32_t padded_dim = 0;
  int32_t page_size = 0;
  bool is_fp8 = false;

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
  // The same of e4m3, for a dimension's place in its row.
  QWILL_HOST_DEVICE static constexpr int64_t in_fp8_block(int64_t entry, int64_t place) {
    return entry * kFp8AtomCols + ((place / 16) ^ (entry % 8)) * 16 + place % 16;
  }
  QWILL_HOST_DEVICE static constexpr int32_t fp8_key_place(int32_t dim) {
    return dim / 16 * 16 + dim % 8 / 2 * 4 + dim % 16 / 8 * 2 + dim % 2;
  }
  QWILL_HOST_DEVICE static constexpr int32_t fp8_value_place(int32_t dim) {
    return dim / 16 * 16 + dim % 8 * 2 + dim % 16 / 8;
  }
};

}  // namespace qwill::cuda
