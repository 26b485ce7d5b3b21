// Any text as config.json, generation_config.json and model.safetensors.index.json: refused with one line, or within
// the bounds that the rest of the program relies on.
#include <cstdint>
#include <functional>

#include "base/error.h"
#include "weights/model_config.h"
#include "weights/shard_index.h"

namespace {

using namespace qwill;

void one_line_or_value(const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& e) {
    CHECK(std::string_view(e.what()).find_first_of("\r\n") == std::string_view::npos, "a message is one line");
  }
}

void check_config(const Json& json) {
  const ModelConfig config = ModelConfig::from_json(json);
  CHECK(config.num_parameters() > 0 && config.num_parameters() <= int64_t{1} << 50, "parameters are counted");
  CHECK(config.num_active_parameters() <= config.num_parameters(), "no more are active than there are");
  CHECK(config.num_heads % config.num_kv_heads == 0 && config.head_dim % 2 == 0, "heads come in groups");
  CHECK(config.context_len() >= 1 && config.trained_len() >= 1, "lengths are positive");
  CHECK(config.rope_theta > 1 && config.rms_norm_eps > 0, "numbers are in range");
  CHECK(!config.yarn || (config.yarn->factor > 0 && config.yarn->attention_factor > 0), "YaRN is in range");
  for (const std::string& warning : config.warnings)
    CHECK(warning.find_first_of("\r\n") == std::string::npos, "a warning is one line");
}

void check_index(const Json& json) {
  const ShardIndex index = ShardIndex::from_json(json);
  for (const std::string& file : index.files)
    CHECK(file.find('/') == std::string::npos && file != "..", "a shard lies in the folder");
  for (const auto& [tensor, file_idx] : index.tensors) CHECK(file_idx < index.files.size(), "a tensor has a file");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  one_line_or_value([&] {
    const Json json = Json::parse(std::string_view(reinterpret_cast<const char*>(data), size));
    one_line_or_value([&] { check_config(json); });
    one_line_or_value([&] { GenerationConfig::from_json(json); });
    one_line_or_value([&] { check_index(json); });
  });
  return 0;
}
