// How the CPU keeps keys and values: per page and KV head, keys transposed (one row of page_size entries per dimension,
// so that scores have keys in their lanes), then values (one row of dimensions per entry). Dimensions are padded to a
// multiple of 16 with zeros. Of int8, scales follow keys and values: for each 32 dimensions a row of one per entry.
#pragma once

#include "cpu/kernels.h"
#include "ops/paged_kv.h"

namespace qwill::cpu {

struct KvLayout {
  explicit KvLayout(const LayerKv& kv) : geometry(*kv.geometry), data(static_cast<std::byte*>(kv.data)) {}

  const KvGeometry& geometry;
  std::byte* data;

  int64_t dim() const { return geometry.padded_head_dim(); }
  // Keys of one page and head, or values.
  int64_t half_bytes() const { return geometry.vector_bytes() * geometry.page_size; }
  int64_t page_bytes() const { return 2 * half_bytes() * geometry.num_kv_heads; }

  KvSlot slot(int64_t index, int64_t head) const {
    std::byte* keys = data + index / geometry.page_size * page_bytes() + head * 2 * half_bytes();
    return {keys, keys + half_bytes(), index % geometry.page_size, geometry.page_size, dim(), geometry.dtype};
  }
  KvPages pages(const int32_t* of_sequence, int64_t head) const {
    return {data + head * 2 * half_bytes(),
            of_sequence,
            page_bytes(),
            half_bytes(),
            geometry.page_size,
            dim(),
            geometry.dtype};
  }
};

}  // namespace qwill::cpu
