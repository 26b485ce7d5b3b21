// A request in progress.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/request.h"
#include "ops/batch.h"

namespace qwill {

struct Sequence {
  int64_t id = 0;
  Request request;
  RopeKind rope = RopeKind::plain;
  std::vector<int32_t> output;
  std::vector<int32_t> pages;  // page i holds positions i * page_size …
  int64_t num_cached = 0;      // tokens whose keys and values are stored
  int64_t max_len = 0;         // prompt and output together

  int64_t size() const { return static_cast<int64_t>(request.prompt.size() + output.size()); }
  int32_t token(int64_t position) const {
    const auto i = static_cast<size_t>(position), prompt = request.prompt.size();
    return i < prompt ? request.prompt[i] : output[i - prompt];
  }
};

}  // namespace qwill
