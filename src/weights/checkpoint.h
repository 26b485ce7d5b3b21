// A checkpoint: configuration and tensors by the hub's names, mapped and checked, nothing copied.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/model_config.h"
#include "weights/model_folder.h"
#include "weights/safetensors.h"

namespace qwill {

class Checkpoint {
 public:
  // Opens config.json, generation_config.json if there, model.safetensors or model.safetensors.index.json with its
  // shards. Throws Error naming file and tensor: a shard that is missing, a tensor that is in no shard, in two, or in
  // another than the index says; and, by check_tensors, every tensor the architecture needs that is missing or has
  // another shape or a dtype other than bf16, f16, f32.
  static Checkpoint open(const ModelFolder& folder);

  const ModelConfig& config() const { return config_; }
  const GenerationConfig& generation_config() const { return generation_config_; }
  // The tensor of that name with exactly that shape; throws Error otherwise.
  const StoredTensor& tensor(std::string_view name, std::span<const int64_t> shape) const;
  bool has(std::string_view name) const;
  const std::vector<SafetensorsFile>& files() const { return files_; }
  int64_t total_bytes() const;  // of all tensor data

 private:
  ModelConfig config_;
  GenerationConfig generation_config_;
  std::vector<SafetensorsFile> files_;
};

// Every tensor that a model of this configuration reads, with its shape, in the order of its use.
struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

}  // namespace qwill
