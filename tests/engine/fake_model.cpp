#include "engine/fake_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "support/random.h"

namespace qwill::test {

FakeModel::FakeModel(int64_t vocab_size) {
  config_.hidden_size = 16;
  config_.num_layers = config_.num_heads = config_.num_kv_heads = 1;
  config_.head_dim = 16;
  config_.vocab_size = vocab_size;
  config_.max_position_embeddings = 4096;
}

std::vector<float> FakeModel::logits(std::span<const int32_t> tokens) const {
  uint64_t hash = 1;
  for (const int32_t token : tokens) hash = Random(hash ^ static_cast<uint64_t>(token)).next();
  return Random(hash).floats(config_.vocab_size, -3, 3);
}

std::vector<int32_t> FakeModel::continuation(std::vector<int32_t> prompt, int64_t count) const {
  const size_t size = prompt.size();
  while (static_cast<int64_t>(prompt.size() - size) < count) {
    const std::vector<float> row = logits(prompt);
    prompt.push_back(static_cast<int32_t>(std::ranges::max_element(row) - row.begin()));
  }
  return {prompt.begin() + static_cast<int64_t>(size), prompt.end()};
}

Tensor FakeModel::forward(Ops&, const Batch& batch, PagedKv& kv, const Observer&) const {
  float* cache = static_cast<float*>(kv.data);  // the token of each slot
  const int64_t page_size = kv.geometry.page_size;
  num_rows_ = batch.num_rows();
  ropes_ = batch.rope;
  EXPECT_GT(num_rows_, 0);
  std::set<int32_t> pages_in_use;
  for (int64_t s = 0; s < batch.num_sequences(); ++s) {
    const int32_t first = batch.row_begin[static_cast<size_t>(s)], last = batch.row_begin[static_cast<size_t>(s) + 1];
    EXPECT_LT(first, last);
    for (int32_t t = first; t < last; ++t) {
      const auto row = static_cast<size_t>(t);
      const int32_t position = batch.positions[row];
      EXPECT_EQ(position, batch.seq_lens[static_cast<size_t>(s)] - (last - t));
      EXPECT_EQ(batch.slots[row], batch.pages(s)[position / page_size] * page_size + position % page_size);
      cache[batch.slots[row]] = static_cast<float>(batch.tokens[row]);
    }
    for (int64_t i = 0; i * page_size < batch.seq_lens[static_cast<size_t>(s)]; ++i) {
      EXPECT_LT(batch.pages(s)[i], kv.geometry.num_pages);
      EXPECT_TRUE(pages_in_use.insert(batch.pages(s)[i]).second) << "page " << batch.pages(s)[i] << " has two owners";
    }
  }
  logits_.clear();
  for (const int32_t row : batch.logit_rows) {
    const auto s = std::ranges::upper_bound(batch.row_begin, row) - batch.row_begin.begin() - 1;
    std::vector<int32_t> tokens;
    for (int64_t p = 0; p <= batch.positions[static_cast<size_t>(row)]; ++p)
      tokens.push_back(static_cast<int32_t>(cache[batch.pages(s)[p / page_size] * page_size + p % page_size]));
    const std::vector<float> out = logits(tokens);
    logits_.insert(logits_.end(), out.begin(), out.end());
  }
  return {logits_.data(), static_cast<int64_t>(batch.logit_rows.size()), config_.vocab_size, DType::f32};
}

}  // namespace qwill::test
