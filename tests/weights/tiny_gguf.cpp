#include "weights/tiny_gguf.h"

#include <algorithm>

#include "base/error.h"
#include "weights/gguf_tensors.h"

namespace qwill::test {

std::string gguf_string(std::string_view text) { return raw<uint64_t>(text.size()) + std::string(text); }

GgufWriter& GgufWriter::set_raw(const std::string& key, GgufType type, const std::string& bytes) {
  remove(key);
  values_.emplace_back(key, raw(static_cast<uint32_t>(type)) + bytes);
  return *this;
}

GgufWriter& GgufWriter::set(const std::string& key, const std::vector<std::string>& texts) {
  std::string bytes = raw(static_cast<uint32_t>(GgufType::string)) + raw<uint64_t>(texts.size());
  for (const std::string& text : texts) bytes += gguf_string(text);
  return set_raw(key, GgufType::array, bytes);
}

GgufWriter& GgufWriter::set(const std::string& key, const std::vector<int32_t>& numbers) {
  std::string bytes = raw(static_cast<uint32_t>(GgufType::i32)) + raw<uint64_t>(numbers.size());
  for (const int32_t number : numbers) bytes += raw(number);
  return set_raw(key, GgufType::array, bytes);
}

GgufWriter& GgufWriter::remove(const std::string& key) {
  std::erase_if(values_, [&](const auto& value) { return value.first == key; });
  return *this;
}

std::string GgufWriter::bytes() const {
  GgufWriter self = *this;
  if (alignment != 32) self.set("general.alignment", static_cast<uint32_t>(alignment));
  const auto pad = [&](std::string& text) { text.resize((text.size() + alignment - 1) / alignment * alignment); };
  std::string out = "GGUF" + raw(version) + raw<uint64_t>(tensors.size()) + raw<uint64_t>(self.values_.size());
  for (const auto& [key, value] : self.values_) out += gguf_string(key) + value;
  std::string data;
  for (const Tensor& tensor : tensors) {
    pad(data);
    out += gguf_string(tensor.name) + raw(static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) out += raw(*size);
    out += raw(tensor.type) + raw<uint64_t>(data.size());
    data += tensor.bytes;
  }
  pad(out);
  return out + data;
}

uint32_t gguf_type_of(DType dtype) { return dtype == DType::f32 ? 0 : dtype == DType::f16 ? 1 : 30; }

Json gguf_dense_config() {
  Json config = tiny_dense_config();
  return config.set("rope_scaling", Json());
}

Json gguf_moe_config() {
  Json config = tiny_moe_config();
  return config.set("mlp_only_layers", Json::array());
}

GgufWriter tiny_gguf(const Json& config, DType dtype) {
  const bool moe = config.find("model_type")->as_string() == "qwen3_moe";
  const std::string architecture = moe ? "qwen3moe" : "qwen3", prefix = architecture + ".";
  GgufWriter out;
  out.set("general.architecture", std::string_view(architecture));
  const auto copy = [&](const std::string& key, std::string_view hub) {
    out.set(prefix + key, static_cast<uint32_t>(config.integer(hub)));
  };
  copy("block_count", "num_hidden_layers");
  copy("context_length", "max_position_embeddings");
  copy("embedding_length", "hidden_size");
  copy("feed_forward_length", "intermediate_size");
  copy("attention.head_count", "num_attention_heads");
  copy("attention.head_count_kv", "num_key_value_heads");
  copy("attention.key_length", "head_dim");
  copy("attention.value_length", "head_dim");
  out.set(prefix + "attention.layer_norm_rms_epsilon", static_cast<float>(config.number("rms_norm_eps")));
  out.set(prefix + "rope.freq_base", static_cast<float>(ModelConfig::from_json(config).rope_theta));
  if (moe) {
    copy("expert_count", "num_local_experts");
    copy("expert_used_count", "num_experts_per_tok");
    copy("expert_feed_forward_length", "moe_intermediate_size");
  }
  out.set("tokenizer.ggml.eos_token_id", 2u);
  for (const OwnedTensor& tensor : tiny_tensors(config, dtype)) {
    const GgufPlace place = gguf_place(tensor.name);
    const std::string bytes(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    if (place.expert > 0) {
      auto& all = *std::ranges::find(out.tensors, place.name, &GgufWriter::Tensor::name);
      all.bytes += bytes;
      ++all.shape[0];
      continue;
    }
    std::vector<int64_t> shape = tensor.shape;
    if (place.expert == 0) shape.insert(shape.begin(), 1);
    out.tensors.push_back({place.name, gguf_type_of(dtype), shape, bytes});
  }
  return out;
}

std::string gguf_shard_name(int shard, int num_shards) {
  return fmt::format("model-{:05}-of-{:05}.gguf", shard + 1, num_shards);
}

std::string write_gguf_shards(const TemporaryFolder& folder, const GgufWriter& model, int num_shards) {
  for (int i = 0; i < num_shards; ++i) {
    GgufWriter shard = i == 0 ? model : GgufWriter();
    shard.tensors.clear();
    for (size_t t = static_cast<size_t>(i); t < model.tensors.size(); t += static_cast<size_t>(num_shards))
      shard.tensors.push_back(model.tensors[t]);
    shard.set_raw("split.no", GgufType::u16, raw(static_cast<uint16_t>(i)));
    shard.set_raw("split.count", GgufType::u16, raw(static_cast<uint16_t>(num_shards)));
    shard.set_raw("split.tensors.count", GgufType::i32, raw(static_cast<int32_t>(model.tensors.size())));
    write_file(folder.path(gguf_shard_name(i, num_shards)), shard.bytes());
  }
  return folder.path(gguf_shard_name(0, num_shards));
}

Checkpoint open_gguf_model(const std::string& path) { return Checkpoint::open(ModelFolder::find(path, "")); }

}  // namespace qwill::test
