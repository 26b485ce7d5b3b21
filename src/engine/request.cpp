#include "qwill/request.h"

#include <cmath>

#include "base/error.h"

namespace qwill {

void SamplingParams::check() const {
  const auto require = [](bool ok, const char* name, double value, const char* range) {
    if (!ok) fail(ErrorKind::usage, "{} is {}: it must be {}", name, value, range);
  };
  require(std::isfinite(temperature) && temperature >= 0, "temperature", temperature, "0 (greedy) or above");
  require(top_k >= 0, "top_k", static_cast<double>(top_k), "0 (off) or above");
  require(top_p > 0 && top_p <= 1, "top_p", top_p, "above 0 and at most 1");
  require(min_p >= 0 && min_p <= 1, "min_p", min_p, "between 0 and 1");
  require(std::isfinite(repetition_penalty) && repetition_penalty > 0, "repetition_penalty", repetition_penalty,
          "above 0");
  require(std::abs(presence_penalty) <= 100, "presence_penalty", presence_penalty, "between -100 and 100");
  require(std::abs(frequency_penalty) <= 100, "frequency_penalty", frequency_penalty, "between -100 and 100");
  require(max_tokens >= 1, "max_tokens", static_cast<double>(max_tokens), "1 or above");
  require(num_logprobs >= -1 && num_logprobs <= 1000, "num_logprobs", num_logprobs, "between -1 (none) and 1000");
  require(num_prompt_logprobs >= -1 && num_prompt_logprobs <= 1000, "num_prompt_logprobs", num_prompt_logprobs,
          "between -1 (none) and 1000");
  for (const int32_t id : stop_ids) require(id >= 0, "stop_ids", id, "ids from 0 on");
  for (const auto& [id, bias] : logit_bias) {
    require(id >= 0, "logit_bias", id, "given for ids from 0 on");
    require(!std::isnan(bias), "logit_bias", bias, "a number");
  }
}

std::string_view finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::cancelled: return "cancelled";
    case FinishReason::deadline: return "deadline";
    case FinishReason::failed: return "failed";
  }
  return "";
}

}  // namespace qwill
