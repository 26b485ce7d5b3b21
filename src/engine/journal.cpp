// A request as one JSON object, and back. The fields are listed once, for both directions.
#include <charconv>
#include <cmath>
#include <concepts>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "qwill/request.h"

namespace qwill {
namespace {

// field(name, value) for each field; Params is SamplingParams, const to write and mutable to read.
template <typename Params>
void for_each_sampling_field(Params& p, auto&& field) {
  field("temperature", p.temperature);
  field("top_k", p.top_k);
  field("top_p", p.top_p);
  field("min_p", p.min_p);
  field("repetition_penalty", p.repetition_penalty);
  field("presence_penalty", p.presence_penalty);
  field("frequency_penalty", p.frequency_penalty);
  field("logit_bias", p.logit_bias);
  field("seed", p.seed);
  field("choice", p.choice);
  field("max_tokens", p.max_tokens);
  field("stop_ids", p.stop_ids);
  field("num_logprobs", p.num_logprobs);
  field("num_prompt_logprobs", p.num_prompt_logprobs);
}

template <typename R>
void for_each_field(R& request, auto&& field) {
  field("prompt", request.prompt);
  field("output", request.output);
  field("sampling", request.sampling);
  field("priority", request.priority);
  field("cache_namespace", request.cache_namespace);
}

// --- to JSON ---

Json written(std::integral auto value) { return Json::number_text(std::to_string(value)); }
// The shortest text that reads back as the same double; a bias may be infinite.
Json written(double value) { return Json::number_text(python_float(value)); }

Json written(const std::vector<int32_t>& ids) {
  Json json = Json::array();
  for (const int32_t id : ids) json.push_back(written(id));
  return json;
}

Json written(const std::vector<std::pair<int32_t, float>>& biases) {
  Json json = Json::array();
  for (const auto& [id, bias] : biases) json.push_back(Json::array({written(id), written(static_cast<double>(bias))}));
  return json;
}

Json written(const SamplingParams& sampling) {
  Json json = Json::object();
  for_each_sampling_field(sampling, [&](std::string_view name, const auto& value) { json.set(name, written(value)); });
  return json;
}

// --- from JSON ---

template <std::integral T>
T integer_from(const Json& json, T low = std::numeric_limits<T>::min()) {
  constexpr T kHigh = std::numeric_limits<T>::max();
  if (!json.is_integer()) fail_invalid("expected an integer, found {}", json.kind_name());
  const std::string& text = json.number_text();
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low)
    fail_invalid("expected an integer from {} to {}, found {}", low, kHigh, printable(text));
  return value;
}

template <typename T>
std::vector<T> list_from(const Json& json, auto&& item_from) {
  const std::vector<Json>& items = json.as_array();
  std::vector<T> list;
  list.reserve(items.size());
  try {
    for (const Json& item : items) list.push_back(item_from(item));
  } catch (const Error& e) {
    throw e.within(fmt::format("item {}", list.size()));
  }
  return list;
}

int32_t id_from(const Json& json) { return integer_from<int32_t>(json, 0); }

std::pair<int32_t, float> bias_from(const Json& json) {
  const std::vector<Json>& pair = json.as_array();
  if (pair.size() != 2) fail_invalid("expected an id and its bias, found {} values", pair.size());
  const double bias = pair[1].as_double();
  if (std::isfinite(bias) && std::abs(bias) > std::numeric_limits<float>::max())
    fail_invalid("expected a bias within float32, found {}", bias);
  return {id_from(pair[0]), static_cast<float>(bias)};
}

template <std::integral T>
void read(const Json& json, T& value) {
  value = integer_from<T>(json);
}
void read(const Json& json, double& value) { value = json.as_double(); }
void read(const Json& json, std::vector<int32_t>& ids) { ids = list_from<int32_t>(json, id_from); }
void read(const Json& json, std::vector<std::pair<int32_t, float>>& biases) {
  biases = list_from<std::pair<int32_t, float>>(json, bias_from);
}

void read(const Json& json, SamplingParams& sampling);

// `for_each` offers every field to a function that takes the one named.
void read_members(const Json& json, auto&& for_each) {
  for (const Json::Member& member : json.as_object()) {
    bool known = false;
    for_each([&](std::string_view field, auto& target) {
      if (field != member.first) return;
      known = true;
      with_context(field, [&] { read(member.second, target); });
    });
    if (!known) fail_invalid("{}: there is no such field", printable(member.first));
  }
}

void read(const Json& json, SamplingParams& sampling) {
  read_members(json, [&](auto&& take) { for_each_sampling_field(sampling, take); });
  try {
    sampling.check();
  } catch (const Error& e) {
    throw Error(ErrorKind::invalid, e.what());
  }
}

}  // namespace

std::string Request::to_json() const {
  Json json = Json::object();
  for_each_field(*this, [&](std::string_view name, const auto& value) { json.set(name, written(value)); });
  return json.dump();
}

Request Request::from_json(std::string_view text) {
  const Json json = Json::parse(text);
  Request request;
  read_members(json, [&](auto&& take) { for_each_field(request, take); });
  if (request.prompt.empty()) fail_invalid("prompt: {}", json.find("prompt") ? "expected a token at least" : "missing");
  return request;
}

}  // namespace qwill
