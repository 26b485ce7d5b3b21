#include "weights/tiny_checkpoint.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "weights/safetensors_writer.h"

namespace qwill::test {

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "qwill-test-XXXXXX").string();
  if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp " + pattern);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("write " + path);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Json tiny_dense_config() {
  return Json::parse(R"({
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
    "eos_token_id": 2, "head_dim": 8, "hidden_act": "silu", "hidden_size": 16, "initializer_range": 0.02,
    "intermediate_size": 24, "max_position_embeddings": 256, "max_window_layers": 2, "model_type": "qwen3",
    "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false, "vocab_size": 40})");
}

Json tiny_moe_config() {
  return Json::parse(R"({
    "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "decoder_sparse_step": 1, "dtype": "float32", "eos_token_id": [2, 1], "head_dim": 8, "hidden_act": "silu",
    "hidden_size": 16, "initializer_range": 0.02, "intermediate_size": 24, "max_position_embeddings": 256,
    "mlp_only_layers": [0], "model_type": "qwen3_moe", "moe_intermediate_size": 6, "norm_topk_prob": true,
    "num_attention_heads": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2, "num_key_value_heads": 2,
    "num_local_experts": 3, "output_router_logits": false, "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_theta": 5000000.0, "rope_type": "default"}, "router_aux_loss_coef": 0.001,
    "sliding_window": null, "tie_word_embeddings": true, "transformers_version": "5.17.0", "use_cache": true,
    "use_sliding_window": false, "vocab_size": 40})");
}

Json tiny_generation_config() {
  return Json::parse(R"({"bos_token_id": 1, "do_sample": true, "eos_token_id": [2, 1], "max_new_tokens": 2048,
    "min_p": 0.0, "pad_token_id": 1, "repetition_penalty": 1.0, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
    "transformers_version": "4.51.0"})");
}

OwnedTensor make_tensor(const std::string& name, DType dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = dtype_bytes(dtype);
  for (const int64_t size : shape) bytes *= size;
  OwnedTensor tensor{name, dtype, shape, std::vector<std::byte>(static_cast<size_t>(bytes))};
  for (size_t i = 0; i < tensor.bytes.size(); ++i) tensor.bytes[i] = static_cast<std::byte>(i % 61);
  return tensor;
}

std::vector<OwnedTensor> tiny_tensors(const Json& config, DType dtype) {
  std::vector<OwnedTensor> tensors;
  for (const ExpectedTensor& expected : expected_tensors(ModelConfig::from_json(config)))
    tensors.push_back(make_tensor(expected.name, dtype, expected.shape));
  return tensors;
}

void write_tensors(const std::string& path, const std::vector<OwnedTensor>& tensors) {
  std::vector<TensorToStore> views;
  for (const OwnedTensor& tensor : tensors) views.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
  write_safetensors(path, views, {{"format", "pt"}});
}

void write_single(const TemporaryFolder& folder, const Json& config, DType dtype) {
  write_file(folder.path("config.json"), config.dump());
  write_file(folder.path("generation_config.json"), tiny_generation_config().dump());
  write_tensors(folder.path("model.safetensors"), tiny_tensors(config, dtype));
}

std::string shard_name(int shard, int num_shards) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, num_shards);
}

void write_sharded(const TemporaryFolder& folder, const Json& config, int num_shards) {
  write_file(folder.path("config.json"), config.dump());
  write_file(folder.path("generation_config.json"), tiny_generation_config().dump());
  std::vector<std::vector<OwnedTensor>> shards(static_cast<size_t>(num_shards));
  Json map = Json::object();
  int64_t total = 0;
  int next = 0;
  for (OwnedTensor& tensor : tiny_tensors(config, DType::bf16)) {
    map.set(tensor.name, shard_name(next, num_shards));
    total += static_cast<int64_t>(tensor.bytes.size());
    shards[static_cast<size_t>(next)].push_back(std::move(tensor));
    next = (next + 1) % num_shards;
  }
  for (int i = 0; i < num_shards; ++i)
    write_tensors(folder.path(shard_name(i, num_shards)), shards[static_cast<size_t>(i)]);
  Json index = Json::object();
  Json metadata = Json::object();
  metadata.set("total_size", total);
  index.set("metadata", std::move(metadata)).set("weight_map", std::move(map));
  write_file(folder.path("model.safetensors.index.json"), index.dump());
}

Checkpoint open_checkpoint(const TemporaryFolder& folder) {
  return Checkpoint::open(ModelFolder::find(folder.path(), ""));
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    const std::string message = e.what();
    EXPECT_EQ(message.find_first_of("\r\n"), std::string::npos) << message;
    EXPECT_FALSE(message.empty());
    return message;
  }
  return "";
}

std::string open_error(const TemporaryFolder& folder) {
  return error_of([&] { open_checkpoint(folder); });
}

}  // namespace qwill::test
