// qwill generate: continues a text.
#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/hub.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/sampling_flags.h"
#include "llm/parts.h"

namespace qwill::cli {
namespace {

struct Generate {
  LlmOptions llm;
  SamplingFlags sampling;
  std::optional<std::string> prompt, prompt_file, token_ids;
  bool plain = false, echo = false, json = false;

  void run();

 private:
  std::string read_prompt() const;
  // llm is null while no model is open.
  Json to_json(const Llm* llm, const GenerateRequest& request, const GenerateResult& result, double total_s) const;
};

std::string Generate::read_prompt() const {
  if (prompt) {
    require_utf8(*prompt, "--prompt");
    return *prompt;
  }
  if (prompt_file) {
    std::string text = read_file(*prompt_file);
    require_utf8(text, *prompt_file);
    return text;
  }
  if (stdin_is_terminal()) warn("reading the prompt from the terminal; end it with Ctrl-D");
  std::string text = read_stdin();
  require_utf8(text, "stdin");
  return text;
}

// {"token", "token_id", "logprob", "top": [{"token", "token_id", "logprob"}]}
Json logprobs_json(const std::optional<Tokenizer>& tokenizer, const std::vector<Draw>& draws) {
  const auto entry = [&](int32_t id, float logprob) {
    Json json = Json::object();
    json.set("token", tokenizer ? Json(replace_invalid_utf8(tokenizer->token_bytes(id))) : Json());
    return json.set("token_id", id).set("logprob", static_cast<double>(logprob));
  };
  Json list = Json::array();
  for (const Draw& draw : draws) {
    Json json = entry(draw.id, draw.logprob);
    Json top = Json::array();
    for (const TokenLogprob& token : draw.top) top.push_back(entry(token.id, token.logprob));
    list.push_back(json.set("top", std::move(top)));
  }
  return list;
}

Json Generate::to_json(const Llm* opened, const GenerateRequest& request, const GenerateResult& result,
                       double total_s) const {
  const auto tokens = static_cast<double>(result.token_ids.size());
  Json ids = Json::array();
  for (const int32_t id : result.token_ids) ids.push_back(id);
  Json usage = Json::object();
  usage.set("prompt_tokens", static_cast<int64_t>(request.prompt.size()))
      .set("completion_tokens", static_cast<int64_t>(result.token_ids.size()));
  Json timing = Json::object();
  timing.set("load_s", opened ? Json(opened->load_s()) : Json())
      .set("ttft_s", result.token_ids.empty() ? Json() : Json(result.ttft_s))
      .set("prefill_tok_s",
           result.ttft_s > 0 ? Json(static_cast<double>(request.prompt.size()) / result.ttft_s) : Json())
      .set("decode_tok_s", tokens > 1 && result.decode_s > 0 ? Json((tokens - 1) / result.decode_s) : Json())
      .set("total_s", total_s);
  std::string text = result.text;
  if (echo && opened && opened->parts().tokenizer.has_value())
    text = opened->parts().tokenizer->decode(request.prompt) + text;
  Json json = Json::object();
  json.set("text", !opened || opened->parts().tokenizer ? Json(text) : Json())
      .set("token_ids", std::move(ids))
      .set("finish_reason", finish_name(result.finish))
      .set("stop", result.stop_string  ? Json(*result.stop_string)
                   : result.stop_token ? Json(result.stop_token->id)
                                       : Json())
      .set("seed", request.sampling.seed)
      .set("logprobs", opened && request.sampling.num_logprobs >= 0
                           ? logprobs_json(opened->parts().tokenizer, result.draws)
                           : Json())
      .set("usage", std::move(usage))
      .set("timing", std::move(timing));
  return json;
}

void Generate::run() {
  const auto start = std::chrono::steady_clock::now();
  if (prompt.has_value() + prompt_file.has_value() + token_ids.has_value() > 1)
    fail(ErrorKind::usage, "give one of --prompt, --prompt-file and --token-ids");
  GenerateRequest request;
  request.sampling = sampling.apply({});  // flags out of range are told before anything is loaded
  const uint64_t seed = request.sampling.seed;
  if (json) {
    GenerateResult nothing;
    nothing.finish = FinishReason::cancelled;
    set_last_words(to_json(nullptr, request, nothing, 0).dump() + "\n");
  }
  std::string text;
  if (token_ids)
    request.prompt = parse_token_ids(*token_ids);
  else
    text = read_prompt();
  fetch_if_absent(llm.model);
  const auto opened = Llm::open(llm);
  for (const std::string& warning : opened->warnings()) warn(warning);
  if (!token_ids) request.prompt = opened->encode(text, plain);
  request.sampling = sampling.apply(opened->default_sampling());
  request.sampling.seed = seed;
  request.stop = sampling.stop;
  request.ignore_eos = sampling.ignore_eos;

  const bool stream = !json && opened->parts().tokenizer.has_value();
  const auto print = [&](const AnswerPart& part) {
    if (stream) write_stdout(part.text);
  };
  const CatchInterrupt catching;
  set_last_words("");  // from here on the result itself is printed
  if (stream && echo) write_stdout(opened->parts().tokenizer->decode(request.prompt));
  const GenerateResult result = opened->generate(request, print, &interrupted());
  if (json) {
    const double total_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    write_stdout(to_json(opened.get(), request, result, total_s).dump() + "\n");
    return;
  }
  if (!stream) {
    std::vector<int32_t> ids = echo ? request.prompt : std::vector<int32_t>();
    ids.insert(ids.end(), result.token_ids.begin(), result.token_ids.end());
    write_stdout(fmt::format("{}", fmt::join(ids, " ")));
  }
  write_stdout("\n");
  if (request.sampling.temperature > 0 && !sampling.seed) warn(fmt::format("seed {}", seed));
}

}  // namespace

void add_generate(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Continue a text.");
  const auto generate = std::make_shared<Generate>();
  add_llm_options(*command, generate->llm);
  add_text(*command, "-p,--prompt", generate->prompt, "the text to continue (default: stdin)");
  add_text(*command, "--prompt-file", generate->prompt_file, "a file with the text to continue, taken as it is")
      ->type_name("FILE");
  add_text(*command, "--token-ids", generate->token_ids, "the prompt as ids: 1,2,3 or @FILE")->type_name("IDS");
  generate->sampling.add_to(*command);
  command->add_flag("--plain", generate->plain, "take special tokens in the prompt as text");
  command->add_flag("--echo", generate->echo, "print the prompt before the answer");
  add_output_format(*command, generate->json);
  command->footer(
      "Temperature, top-k, top-p, min-p and repetition penalty default to the model's generation_config.json, and to\n"
      "greedy if it has none or does not ask for sampling. Only the continuation goes to stdout.\n\n"
      "Examples:\n"
      "  qwill generate -p 'The capital of France is'\n"
      "  qwill generate ./Qwen3-8B-Base -p 'Once upon a time' --max-tokens 100 --output json\n"
      "  qwill render ./Qwen3-8B < chat.json | qwill generate ./Qwen3-8B --seed 1");
  command->callback([generate] { generate->run(); });
}

}  // namespace qwill::cli
