// model.safetensors.index.json: which file of a sharded checkpoint holds which tensor.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace qwill {

struct ShardIndex {
  std::vector<std::string> files;                       // ascending, each once; plain file names
  std::vector<std::pair<std::string, size_t>> tensors;  // name, and which of files holds it

  // Throws Error(invalid) naming the key: weight_map missing or empty, names that are no plain file names.
  static ShardIndex from_json(const Json& index);
};

}  // namespace qwill
