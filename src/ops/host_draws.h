// Draws of a backend whose logits are on the host: kept until they are taken, and for the rows of the next step that
// take their token from them.
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ops/batch.h"
#include "ops/sampling.h"

namespace qwill {

class HostDraws {
 public:
  void push(std::vector<Draw> draws) {
    last_ids_.clear();
    for (const Draw& draw : draws) last_ids_.push_back(draw.id);
    draws_.push_back(std::move(draws));
  }
  std::vector<Draw> take() {
    CHECK(!draws_.empty(), "every take_draws follows its sample");
    std::vector<Draw> draws = std::move(draws_.front());
    draws_.pop_front();
    return draws;
  }
  // The token of a row.
  int32_t token(const Batch& batch, int64_t row) const {
    const auto t = static_cast<size_t>(row);
    const int32_t source = batch.draw_source[t];
    return source == Batch::kFromHost ? batch.tokens[t] : last_id(source);
  }
  // What sample_row wants to know beside the row.
  int32_t last_id(const SamplingRow& row) const { return row.draw_source < 0 ? -1 : last_id(row.draw_source); }

 private:
  int32_t last_id(int32_t source) const {
    CHECK(source >= 0 && static_cast<size_t>(source) < last_ids_.size(), "the row was drawn in the last step");
    return last_ids_[static_cast<size_t>(source)];
  }

  std::deque<std::vector<Draw>> draws_;
  std::vector<int32_t> last_ids_;
};

}  // namespace qwill
