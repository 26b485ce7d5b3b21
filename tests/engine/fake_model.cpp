#include "engine/fake_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
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

Tensor FakeModel::forward(Ops& ops, const Batch& batch, PagedKv& kv, const Observer&) const {
  if (!ids_) {
    std::vector<float> ids(static_cast<size_t>(config_.vocab_size));
    std::iota(ids.begin(), ids.end(), 0.0f);
    const WeightSource source{.data = ids.data(), .dtype = DType::f32, .rows = config_.vocab_size, .cols = 1};
    ids_ = ops.place({&source, 1}, WeightUse::matrix, Compute::f32);
  }
  RopeSettings rope;
  for (RopeSetting& setting : rope) setting.inv_freq = {1};
  ops.begin_step(batch, rope);
  const Tensor tokens = ops.embed(batch, ids_);  // those that were drawn a moment ago included
  const int64_t page_size = kv.geometry.page_size;
  // Tokens are kept where the reference has a page's keys; a copied page carries them along.
  const auto entry = [&](int64_t page, int64_t i) -> float& {
    return static_cast<float*>(kv.data)[page * kv.geometry.layer_page_bytes() / 8 + i];
  };
  num_rows_ = batch.num_rows();
  ropes_ = batch.rope;
  EXPECT_GT(num_rows_, 0);
  std::map<int32_t, int> users;  // of each page
  std::set<int32_t> written;
  for (int64_t s = 0; s < batch.num_sequences(); ++s) {
    const int32_t first = batch.row_begin[static_cast<size_t>(s)], last = batch.row_begin[static_cast<size_t>(s) + 1];
    EXPECT_LT(first, last);
    for (int32_t t = first; t < last; ++t) {
      const auto row = static_cast<size_t>(t);
      const int32_t position = batch.positions[row], page = batch.pages(s)[position / page_size];
      EXPECT_EQ(position, batch.seq_lens[static_cast<size_t>(s)] - (last - t));
      EXPECT_EQ(batch.slots[row], page * page_size + position % page_size);
      entry(page, position % page_size) = *tokens.row<float>(t);
      written.insert(page);
    }
    for (int64_t i = 0; i * page_size < batch.seq_lens[static_cast<size_t>(s)]; ++i) {
      EXPECT_LT(batch.pages(s)[i], kv.geometry.num_pages);
      ++users[batch.pages(s)[i]];
    }
  }
  for (const int32_t page : written) EXPECT_EQ(users[page], 1) << "page " << page << " is written and has two owners";
  logits_.clear();
  for (const int32_t row : batch.logit_rows) {
    const auto s = std::ranges::upper_bound(batch.row_begin, row) - batch.row_begin.begin() - 1;
    std::vector<int32_t> stored;
    for (int64_t p = 0; p <= batch.positions[static_cast<size_t>(row)]; ++p)
      stored.push_back(static_cast<int32_t>(entry(batch.pages(s)[p / page_size], p % page_size)));
    const std::vector<float> out = logits(stored);
    logits_.insert(logits_.end(), out.begin(), out.end());
  }
  return {logits_.data(), static_cast<int64_t>(batch.logit_rows.size()), config_.vocab_size, DType::f32};
}

}  // namespace qwill::test
