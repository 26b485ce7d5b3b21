// The paged key/value cache: its geometry. How a page lies in memory is the backend's affair (cpu/kv_layout.h).
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace qwill {

// Keys per attention tile. Part of the attention formula (ops.h, attend): changing it changes bits.
constexpr int64_t kTileKeys = 128;
// Tiles merged in order to a group before groups are merged in order.
constexpr int64_t kGroupTiles = 8;

// Dimensions of a key or value in int8 that share a scale, which is bf16.
constexpr int64_t kKvScaleDims = 32;

struct KvGeometry {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t page_size = 64;  // tokens; divides kTileKeys
  int64_t num_pages = 0;
  DType dtype = DType::f32;

  int64_t head_alignment = 16;  // the backend pads a head's dimensions to a multiple of this

  int64_t padded_head_dim() const { return (head_dim + head_alignment - 1) / head_alignment * head_alignment; }
  // Bytes of one head's key or value, with its scales.
  int64_t vector_bytes() const {
    return padded_head_dim() * dtype_bytes(dtype) + (dtype == DType::i8 ? padded_head_dim() / kKvScaleDims * 2 : 0);
  }
  // Bytes of one token's keys and values in all layers.
  int64_t token_bytes() const { return 2 * num_layers * num_kv_heads * vector_bytes(); }
  int64_t total_bytes() const { return token_bytes() * page_size * num_pages; }
  // Of one page in one layer, where it is one run of bytes.
  int64_t layer_page_bytes() const { return token_bytes() / num_layers * page_size; }
};

// The first num_entries entries of a page are copied to another; what comes to stand behind them is not to matter.
struct PageCopy {
  int32_t from, to;
  int32_t num_entries;
};
// A page's entries from first_entry on.
struct PageRest {
  int32_t page, first_entry;
};

// One layer's slice of the cache.
struct LayerKv {
  const KvGeometry* geometry = nullptr;
  void* data = nullptr;  // the layer's pages
};

// The cache of all layers; the memory belongs to the Ops that allocated it.
struct PagedKv {
  KvGeometry geometry;
  void* data = nullptr;

  LayerKv operator[](int64_t layer) const {
    const int64_t layer_bytes = geometry.layer_page_bytes() * geometry.num_pages;
    return {&geometry, static_cast<char*>(data) + layer * layer_bytes};
  }
};

}  // namespace qwill
