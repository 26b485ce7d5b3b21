#include "base/error.h"
#include "weights/config_fields.h"
#include "weights/model_config.h"

namespace qwill {
namespace {

std::optional<double> optional_number(const Json& config, std::string_view key, NumberRange range) {
  if (!config.find_value(key)) return std::nullopt;
  return bounded_number(config, key, range);
}

std::optional<int64_t> optional_integer(const Json& config, std::string_view key, int64_t low, int64_t high) {
  if (!config.find_value(key)) return std::nullopt;
  return bounded_integer(config, key, low, high);
}

}  // namespace

GenerationConfig GenerationConfig::from_json(const Json& config) {
  config.as_object();
  constexpr int64_t kMaxCount = int64_t{1} << 31;
  GenerationConfig out;
  out.do_sample = config.boolean_or("do_sample", false);
  out.temperature = optional_number(config, "temperature", {0, 1e6});
  out.top_p = optional_number(config, "top_p", {0, 1, true});
  out.min_p = optional_number(config, "min_p", {0, 1});
  out.repetition_penalty = optional_number(config, "repetition_penalty", {0, 1e6, true});
  out.top_k = optional_integer(config, "top_k", 0, kMaxCount);
  out.max_new_tokens = optional_integer(config, "max_new_tokens", 1, kMaxCount);
  out.eos_token_ids = read_token_ids(config, "eos_token_id");
  return out;
}

}  // namespace qwill
