// GGUF files that tests write value by value, so that any part of them can be wrong.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "weights/gguf.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {

// Little-endian bytes of a number.
template <typename T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
// A string with its length before it.
std::string gguf_string(std::string_view text);

class GgufWriter {
 public:
  // A key's value, already in the format's bytes behind its kind.
  GgufWriter& set_raw(const std::string& key, GgufType type, const std::string& bytes);
  GgufWriter& set(const std::string& key, uint32_t value) { return set_raw(key, GgufType::u32, raw(value)); }
  GgufWriter& set(const std::string& key, float value) { return set_raw(key, GgufType::f32, raw(value)); }
  GgufWriter& set(const std::string& key, bool value) { return set_raw(key, GgufType::boolean, raw(value)); }
  GgufWriter& set(const std::string& key, std::string_view text) {
    return set_raw(key, GgufType::string, gguf_string(text));
  }
  GgufWriter& set(const std::string& key, const char* text) { return set(key, std::string_view(text)); }
  GgufWriter& set(const std::string& key, const std::vector<std::string>& texts);
  GgufWriter& set(const std::string& key, const std::vector<int32_t>& numbers);
  GgufWriter& remove(const std::string& key);

  struct Tensor {
    std::string name;
    uint32_t type = 0;
    std::vector<int64_t> shape;  // the longest stride first
    std::string bytes;
  };
  std::vector<Tensor> tensors;
  uint32_t version = 3;
  uint64_t alignment = 32;  // written as general.alignment unless it is 32

  std::string bytes() const;

 private:
  std::vector<std::pair<std::string, std::string>> values_;  // key; kind and bytes
};

// Number of a type in the format: F32, F16, BF16.
uint32_t gguf_type_of(DType dtype);

// The tiny configurations without what the format has no word for: every layer has experts, and there is no YaRN.
Json gguf_dense_config();
Json gguf_moe_config();
// A model of a configuration in config.json's spelling, its tensors as tiny_tensors makes them, experts stacked.
GgufWriter tiny_gguf(const Json& config, DType dtype = DType::bf16);
// The same dealt out to several files beside one another. Returns the path of the first.
std::string write_gguf_shards(const TemporaryFolder& folder, const GgufWriter& model, int num_shards);
std::string gguf_shard_name(int shard, int num_shards);
Checkpoint open_gguf_model(const std::string& path);

}  // namespace qwill::test
