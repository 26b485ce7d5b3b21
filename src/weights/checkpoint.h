// A checkpoint: configuration and tensors by the hub's names, mapped and checked, nothing copied.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "weights/model_config.h"
#include "weights/model_folder.h"
#include "weights/safetensors.h"

namespace qwill {

class Checkpoint {
 public:
  // Opens config.json, generation_config.json if there, model.safetensors or model.safetensors.index.json with its
  // shards; or a GGUF file with its shards. Throws Error naming file and tensor: a shard that is missing, a tensor that
  // is in no shard, in two, or in another than the index says; and every tensor the architecture needs that is missing
  // or has another shape or a dtype other than bf16, f16, f32 and, of matrices, blocks. Tensors that the architecture
  // does not need are ignored, those of a shard that the index does not list included: the head of a model whose head
  // is tied, say. Reads no tensor data. As in the reference, names may lack "model." in front, and a tied model may
  // store its one matrix as the head.
  static Checkpoint open(const ModelFolder& folder);

  const ModelConfig& config() const { return config_; }
  const GenerationConfig& generation_config() const { return generation_config_; }
  // The tensor of that name with exactly that shape and a dtype of bf16, f16 or f32, or a matrix in blocks; throws
  // Error otherwise.
  const StoredTensor& tensor(std::string_view name, std::span<const int64_t> shape) const;
  // Whether tensor() would find one, of whatever shape.
  bool has(std::string_view name) const { return locate(name) != nullptr; }
  const std::vector<TensorFile>& files() const { return files_; }
  int64_t total_bytes() const;  // of all tensor data
  // What the first tensor in panels is called ("panels of int8"); empty if none is.
  std::string_view panels() const;
  // The embedding beside a head of its own, of which only single rows are read; empty where they are one.
  std::span<const std::byte> rare_bytes() const;

 private:
  struct Found {
    const StoredTensor* tensor;
    const TensorFile* file;
  };

  void open_gguf_model(const ModelFolder& folder);
  void open_hub_model(const ModelFolder& folder);
  void open_files(const ModelFolder& folder);
  void open_shards(const ModelFolder& folder);
  void index_tensors();
  const Found* locate(std::string_view name) const;
  // As the files call it.
  std::string stored_name(std::string_view name) const;
  [[noreturn]] void fail_type(const TensorFile& file, std::string_view name, std::string_view type) const;
  [[noreturn]] void fail_missing(std::string_view name) const;

  ModelConfig config_;
  GenerationConfig generation_config_;
  std::string name_;
  bool is_gguf_ = false;
  std::vector<TensorFile> files_;
  // Keys and values point into files_, which does not change once it is filled and may be moved as a whole.
  std::unordered_map<std::string_view, Found> tensors_;
};

// Every tensor that a model of this configuration reads, with its shape, in the order of its use.
struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;

  int64_t num_elements() const {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    return count;
  }
  // Of attention, of an MLP or of an expert: what --dtype fp8 and int4 round. Not embedding, head, router or norm.
  bool is_layer_matrix() const { return name.ends_with("_proj.weight"); }
};
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);
// The matrix that makes logits: the embedding, where both are one.
std::string_view head_name(const ModelConfig& config);

// The same without building the list; what visit throws ends it.
void for_each_expected_tensor(const ModelConfig& config, const std::function<void(const ExpectedTensor&)>& visit);

}  // namespace qwill
