#include "server/openai_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <limits>
#include <utility>

#include "base/error.h"
#include "llm/parts.h"

namespace qwill {
namespace {

// The API's words for what is wrong.
constexpr std::string_view kWrongType = "invalid_type", kWrongValue = "invalid_value",
                           kMissing = "missing_required_parameter", kUnsupported = "unsupported_value",
                           kTooLong = "context_length_exceeded";

constexpr int64_t kMaxChoices = 128;   // n
constexpr int64_t kMaxAnswers = 2048;  // prompts times n
constexpr size_t kMaxStops = 4;
constexpr size_t kMaxBiases = 1024, kMaxStopIds = 64;  // each choice carries its own
constexpr int64_t kMaxLogprobs = 20;
constexpr int64_t kCompletionTokens = 16;  // the API's default of max_tokens
constexpr double kAny = std::numeric_limits<double>::max();
constexpr int64_t kAnyInteger = std::numeric_limits<int64_t>::max();

template <typename... Args>
[[noreturn]] void refuse(std::string param, std::string_view code, fmt::format_string<Args...> format, Args&&... args) {
  const std::string message = fmt::format(format, std::forward<Args>(args)...);
  throw RequestError(param, code, param.empty() ? message : param + ": " + message);
}

// Runs f; what is wrong with a field's value is told with its name.
template <typename F>
auto reading(const std::string& param, std::string_view code, F&& f) {
  try {
    return f();
  } catch (const RequestError&) {
    throw;
  } catch (const Error& e) {
    throw RequestError(param, code, param + ": " + e.what());
  }
}

const std::vector<Json>& items_of(const std::string& param, const Json& array) {
  if (!array.is_array()) refuse(param, kWrongType, "expected an array, found {}", array.kind_name());
  return array.as_array();
}

const std::string& string_of(const std::string& param, const Json& value) {
  if (!value.is_string()) refuse(param, kWrongType, "expected a string, found {}", value.kind_name());
  return value.as_string();
}

bool boolean_of(const std::string& param, const Json& value) {
  return reading(param, kWrongType, [&] { return value.as_boolean(); });
}

double number_of(const std::string& param, const Json& value) {
  return reading(param, kWrongType, [&] { return value.as_double(); });
}

int64_t integer_of(const std::string& param, const Json& value, int64_t low, int64_t high) {
  const int64_t number = reading(param, kWrongType, [&] { return value.as_integer(); });
  if (number >= low && number <= high) return number;
  if (high == kAnyInteger) refuse(param, kWrongValue, "{} is below {}", number, low);
  refuse(param, kWrongValue, "{} is not from {} to {}", number, low, high);
}

// For a field that means text.
void require_tokenizer(const Llm& llm, const std::string& param) {
  if (!llm.parts().tokenizer) refuse(param, kUnsupported, "the model has no tokenizer: only prompts of token ids work");
}

// The members of a body, asked for one by one. Null counts as absent.
class Fields {
 public:
  explicit Fields(const Json& body) : body_(body) {
    if (!body.is_object()) refuse("", kWrongType, "the body: expected an object, found {}", body.kind_name());
  }

  const Json* find(const std::string& name) const { return body_.find_value(name); }
  const Json& required(const std::string& name) const {
    const Json* value = find(name);
    if (!value) refuse(name, kMissing, "missing");
    return *value;
  }
  std::string string(const std::string& name) const {
    const Json* value = find(name);
    return value ? string_of(name, *value) : "";
  }
  bool boolean(const std::string& name) const {
    const Json* value = find(name);
    return value && boolean_of(name, *value);
  }
  std::optional<int64_t> integer(const std::string& name, int64_t low, int64_t high) const {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    return integer_of(name, *value, low, high);
  }
  // `above`: low itself is out of range.
  double number(const std::string& name, double fallback, double low, double high, bool above = false) const {
    const Json* value = find(name);
    if (!value) return fallback;
    const double number = number_of(name, *value);
    if (number <= high && (above ? number > low : number >= low)) return number;
    if (high == kAny) refuse(name, kWrongValue, "{} is not {} {}", number, above ? "above" : "at least", low);
    refuse(name, kWrongValue, "{} is not {} {} {} {}", number, above ? "above" : "from", low,
           above ? "and at most" : "to", high);
  }
  // A parameter of the API that qwill does not have, with the values (as JSON) that ask for nothing.
  void only(const std::string& name, std::initializer_list<std::string_view> harmless) const {
    const Json* value = find(name);
    if (value && std::ranges::find(harmless, value->dump()) == harmless.end())
      refuse(name, kUnsupported, "only {} is supported, not {}", fmt::join(harmless, " or "), printable(value->dump()));
  }

 private:
  const Json& body_;
};

// ------------------------------------------------------------------------------------------------ prompts

using Ids = std::vector<int32_t>;

Ids token_ids(const std::string& param, const Json& array, int64_t vocab_size) {
  Ids ids;
  for (const Json& item : items_of(param, array))
    ids.push_back(static_cast<int32_t>(integer_of(param, item, 0, vocab_size - 1)));
  return ids;
}

std::vector<Ids> read_prompts(const Llm& llm, const Json& prompt, int64_t vocab_size) {
  const auto encode = [&](const std::string& param, const Json& text) {
    require_tokenizer(llm, param);
    return reading(param, kWrongValue, [&] { return llm.encode(text.as_string()); });
  };
  if (prompt.is_string()) return {encode("prompt", prompt)};
  if (!prompt.is_array()) refuse("prompt", kWrongType, "expected a string or an array, found {}", prompt.kind_name());
  const std::vector<Json>& items = prompt.as_array();
  if (items.empty()) refuse("prompt", kWrongValue, "an empty array");
  if (items.front().is_number()) return {token_ids("prompt", prompt, vocab_size)};
  if (static_cast<int64_t>(items.size()) > kMaxAnswers)
    refuse("prompt", kWrongValue, "{} prompts, and a request may have {}", items.size(), kMaxAnswers);
  std::vector<Ids> prompts;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string param = fmt::format("prompt[{}]", i);
    prompts.push_back(items[i].is_string() ? encode(param, items[i]) : token_ids(param, items[i], vocab_size));
  }
  return prompts;
}

// The messages as templates know them: OpenAI's "developer" is another word for "system".
Json read_messages(const Json& messages) {
  constexpr std::string_view kRoles[] = {"system", "user", "assistant", "tool"};
  Json list = Json::array();
  for (const Json& message : items_of("messages", messages)) {
    const std::string param = fmt::format("messages[{}]", list.as_array().size());
    if (!message.is_object()) refuse(param, kWrongType, "expected an object, found {}", message.kind_name());
    const Json* role = message.find_value("role");
    if (!role) refuse(param + ".role", kMissing, "missing");
    const std::string& name = string_of(param + ".role", *role);
    Json copy = message;
    if (name == "developer")
      copy.set("role", "system");
    else if (std::ranges::find(kRoles, name) == std::end(kRoles))
      refuse(param + ".role", kWrongValue, "\"{}\" is not one of {}, developer", printable(name),
             fmt::join(kRoles, ", "));
    list.push_back(std::move(copy));
  }
  return list;
}

// Tools and formats of answers are not there yet, and an answer without them would not be what was asked for.
void refuse_tools(const Fields& fields) {
  constexpr std::string_view kNotYet = "not supported yet: leave it out";
  for (const char* name : {"tools", "functions"})
    if (const Json* list = fields.find(name); list && list->dump() != "[]") refuse(name, kUnsupported, "{}", kNotYet);
  fields.only("tool_choice", {R"("auto")", R"("none")"});
  fields.only("function_call", {R"("auto")", R"("none")"});
}

struct Chat {
  Ids prompt;
  ReasoningSplitter::Start reasoning;
};

Chat read_chat(const Llm& llm, const Fields& fields) {
  require_tokenizer(llm, "messages");
  Json chat = Json::object();
  chat.set("messages", read_messages(fields.required("messages")));
  if (const Json* thinking = fields.find("enable_thinking"))
    chat.set("enable_thinking", boolean_of("enable_thinking", *thinking));
  if (const Json* settings = fields.find("chat_template_kwargs")) {
    const std::string param = "chat_template_kwargs";
    if (!settings->is_object()) refuse(param, kWrongType, "expected an object, found {}", settings->kind_name());
    if (const Json* thinking = settings->find_value("enable_thinking"))
      chat.set("enable_thinking", boolean_of(param + ".enable_thinking", *thinking));
  }
  try {
    const std::vector<PromptSegment> segments = llm.parts().chat_template(false).render_segments(chat);
    std::string text;
    for (const PromptSegment& segment : segments) text += segment.text;
    return {llm.parts().encode_prompt(segments), ReasoningSplitter::start_of(text)};
  } catch (const Error& e) {
    // The template's errors begin with the place: "messages[1].content: …".
    const std::string message = e.what(), place = message.substr(0, message.find(": "));
    const bool names_field = place.starts_with("messages") || place.starts_with("tools");
    throw RequestError(names_field ? place : "messages", kWrongValue, message);
  }
}

// ------------------------------------------------------------------------------------------------ settings

std::vector<std::string> read_stops(const Fields& fields) {
  const Json* stop = fields.find("stop");
  if (!stop) return {};
  std::vector<std::string> stops;
  if (stop->is_string())
    stops.push_back(stop->as_string());
  else
    for (const Json& item : items_of("stop", *stop)) stops.push_back(string_of("stop", item));
  if (stops.size() > kMaxStops) refuse("stop", kWrongValue, "{} strings, and {} are allowed", stops.size(), kMaxStops);
  if (std::ranges::find(stops, "") != stops.end()) refuse("stop", kWrongValue, "an empty string");
  return stops;
}

void read_logit_bias(const Fields& fields, int64_t vocab_size, SamplingParams& params) {
  const Json* bias = fields.find("logit_bias");
  if (!bias) return;
  if (!bias->is_object()) refuse("logit_bias", kWrongType, "expected an object, found {}", bias->kind_name());
  if (bias->as_object().size() > kMaxBiases)
    refuse("logit_bias", kWrongValue, "{} tokens, and {} are allowed", bias->as_object().size(), kMaxBiases);
  for (const auto& [name, value] : bias->as_object()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    // "07" would be a second name of "7".
    if (error != std::errc() || end != name.data() + name.size() || id < 0 || id >= vocab_size ||
        name != std::to_string(id))
      refuse("logit_bias", kWrongValue, "\"{}\" is no token id from 0 to {}", printable(name), vocab_size - 1);
    const double number = number_of("logit_bias", value);
    if (!(number >= -100 && number <= 100))
      refuse("logit_bias", kWrongValue, "{} of token {} is not from -100 to 100", number, id);
    params.logit_bias.emplace_back(id, static_cast<float>(number));
  }
}

int32_t read_num_logprobs(const Fields& fields, Endpoint endpoint) {
  if (endpoint == Endpoint::completions)
    return static_cast<int32_t>(fields.integer("logprobs", 0, kMaxLogprobs).value_or(-1));
  const bool wanted = fields.boolean("logprobs");
  const std::optional<int64_t> top = fields.integer("top_logprobs", 0, kMaxLogprobs);
  if (top && !wanted) refuse("top_logprobs", kWrongValue, "needs \"logprobs\": true");
  return wanted ? static_cast<int32_t>(top.value_or(0)) : -1;
}

// Nothing if the body names none; 0 asks for an echo of the prompt alone.
std::optional<int64_t> read_max_tokens(const Fields& fields, Endpoint endpoint, bool echo) {
  const std::optional<int64_t> plain = fields.integer("max_tokens", echo ? 0 : 1, kAnyInteger);
  if (endpoint == Endpoint::completions) return plain;
  const std::optional<int64_t> completion = fields.integer("max_completion_tokens", 1, kAnyInteger);
  if (plain && completion) refuse("max_tokens", kWrongValue, "give it or max_completion_tokens, not both");
  return plain ? plain : completion;
}

SamplingParams read_sampling(const Fields& fields, Endpoint endpoint, int64_t vocab_size, SamplingParams params) {
  params.temperature = fields.number("temperature", params.temperature, 0, 2);
  params.top_p = fields.number("top_p", params.top_p, 0, 1, true);
  params.min_p = fields.number("min_p", params.min_p, 0, 1);
  params.top_k = std::max<int64_t>(fields.integer("top_k", -1, kAnyInteger).value_or(params.top_k), 0);
  params.repetition_penalty = fields.number("repetition_penalty", params.repetition_penalty, 0, kAny, true);
  params.presence_penalty = fields.number("presence_penalty", params.presence_penalty, -2, 2);
  params.frequency_penalty = fields.number("frequency_penalty", params.frequency_penalty, -2, 2);
  read_logit_bias(fields, vocab_size, params);
  if (const auto seed = fields.integer("seed", std::numeric_limits<int64_t>::min(), kAnyInteger))
    params.seed = static_cast<uint64_t>(*seed);
  if (const Json* ids = fields.find("stop_token_ids")) params.stop_ids = token_ids("stop_token_ids", *ids, vocab_size);
  if (params.stop_ids.size() > kMaxStopIds)
    refuse("stop_token_ids", kWrongValue, "{} ids, and {} are allowed", params.stop_ids.size(), kMaxStopIds);
  params.num_logprobs = read_num_logprobs(fields, endpoint);
  return params;
}

}  // namespace

std::optional<Endpoint> endpoint_of(std::string_view path) {
  for (const auto& [known, endpoint] : kEndpoints)
    if (known == path) return endpoint;
  return std::nullopt;
}

ApiRequest read_api_request(const Llm& llm, Endpoint endpoint, const Json& body, uint64_t default_seed) {
  const bool is_chat = endpoint == Endpoint::chat_completions;
  const int64_t vocab_size = llm.parts().config().vocab_size, max_seq_len = llm.parts().engine->max_seq_len();
  const Fields fields(body);
  ApiRequest api;
  api.form.endpoint = endpoint;
  api.form.model = fields.string("model");
  api.stream = fields.boolean("stream");

  GenerateRequest common;
  common.sampling = llm.default_sampling();
  common.sampling.seed = default_seed;
  common.sampling = read_sampling(fields, endpoint, vocab_size, common.sampling);
  api.form.num_logprobs = common.sampling.num_logprobs;
  const bool echo = !is_chat && fields.boolean("echo");
  const std::optional<int64_t> max_tokens = read_max_tokens(fields, endpoint, echo);
  api.form.prompt_only = max_tokens == 0;
  if (const Json* options = fields.find("stream_options")) {
    if (!options->is_object())
      refuse("stream_options", kWrongType, "expected an object, found {}", options->kind_name());
    if (const Json* usage = options->find_value("include_usage"))
      api.form.include_usage = boolean_of("stream_options.include_usage", *usage);
  }
  const int64_t num_choices = fields.integer("n", 1, kMaxChoices).value_or(1);
  common.stop = read_stops(fields);
  if (!common.stop.empty()) require_tokenizer(llm, "stop");
  common.ignore_eos = fields.boolean("ignore_eos");
  common.priority = static_cast<int32_t>(
      fields.integer("priority", std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()).value_or(0));
  fields.string("user");
  fields.only("response_format", {R"({"type":"text"})"});
  if (is_chat) {
    refuse_tools(fields);
  } else {
    fields.only("best_of", {std::to_string(num_choices)});
    fields.only("suffix", {R"("")"});
  }

  std::vector<Ids> prompts;
  if (is_chat) {
    Chat chat = read_chat(llm, fields);
    prompts.push_back(std::move(chat.prompt));
    api.form.reasoning = chat.reasoning;
  } else {
    prompts = read_prompts(llm, fields.required("prompt"), vocab_size);
  }
  if (static_cast<int64_t>(prompts.size()) * num_choices > kMaxAnswers)
    refuse("n", kWrongValue, "{} prompts with {} answers each, and a request may have {} together", prompts.size(),
           num_choices, kMaxAnswers);

  if (echo) common.sampling.num_prompt_logprobs = common.sampling.num_logprobs;
  if (api.form.prompt_only) {  // the one token that is drawn all the same tells nothing
    common.ignore_eos = true;
    common.stop.clear();
    common.sampling.stop_ids.clear();
  }
  api.form.num_choices = num_choices;
  const std::string param = is_chat ? "messages" : "prompt";
  for (Ids& prompt : prompts) {
    const auto size = static_cast<int64_t>(prompt.size());
    if (size == 0) refuse(param, kWrongValue, "empty: at least one token is needed");
    if (size >= max_seq_len)
      refuse(param, kTooLong, "{} tokens, and a sequence may have {} with its answer", size, max_seq_len);
    api.form.prompt_tokens += size;
    if (echo) api.form.echoed.push_back(prompt);
    common.prompt = std::move(prompt);
    common.sampling.max_tokens =
        std::max<int64_t>(1, max_tokens.value_or(is_chat ? max_seq_len - size : kCompletionTokens));
    for (int64_t i = 0; i < num_choices; ++i) {
      common.sampling.choice = static_cast<uint32_t>(i);
      api.requests.push_back(common);
    }
  }
  return api;
}

std::string read_model_name(const Json& body) { return Fields(body).string("model"); }

std::vector<int32_t> read_tokenized(const Llm& llm, const Json& body) {
  const Fields fields(body);
  if (fields.find("messages")) return read_chat(llm, fields).prompt;
  const std::string& text = string_of("prompt", fields.required("prompt"));
  require_tokenizer(llm, "prompt");
  return reading("prompt", kWrongValue, [&] { return llm.encode(text); });
}

std::vector<int32_t> read_detokenized(const Llm& llm, const Json& body) {
  const Fields fields(body);
  require_tokenizer(llm, "tokens");
  return token_ids("tokens", fields.required("tokens"), llm.parts().config().vocab_size);
}

}  // namespace qwill
