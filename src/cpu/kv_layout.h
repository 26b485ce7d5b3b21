// How the CPU keeps keys and values: per page and KV head, keys transposed (one row of page_size entries per dimension,
// so that scores have keys in their lanes), then values (one row of dimensions per entry). Dimensions are padded to a
// multiple of 16 with zeros.
#pragma once

#include "ops/paged_kv.h"

namespace qwill::cpu {

constexpr int64_t kMaxHeadDim = 256;

struct KvLayout {
  explicit KvLayout(const LayerKv& kv) : geometry(*kv.geometry), data(static_cast<float*>(kv.data)) {}

  const KvGeometry& geometry;
  float* data;

  int64_t dim() const { return geometry.padded_head_dim(); }

  // [dim][page_size]
  float* keys(int64_t page, int64_t head) const {
    return data + (page * geometry.num_kv_heads + head) * 2 * geometry.page_size * dim();
  }
  // [page_size][dim]
  float* values(int64_t page, int64_t head) const { return keys(page, head) + geometry.page_size * dim(); }
};

}  // namespace qwill::cpu
