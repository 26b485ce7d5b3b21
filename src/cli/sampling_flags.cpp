#include "cli/sampling_flags.h"

#include <random>

#include "base/error.h"
#include "cli/flags.h"
#include "cli/output.h"

namespace qwill::cli {
namespace {

// "ID=B"
std::pair<int32_t, float> parse_bias(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals != std::string::npos) {
    const auto id = parse_number<int32_t>(std::string_view(text).substr(0, equals));
    const auto bias = parse_number<float>(std::string_view(text).substr(equals + 1));
    if (id && *id >= 0 && bias) return {*id, *bias};
  }
  fail(ErrorKind::usage, "--logit-bias: \"{}\" is not ID=BIAS, such as 271=-100", printable(text));
}

}  // namespace

void SamplingFlags::add_to(CLI::App& command) {
  add_number(command, "--max-tokens", max_tokens, "tokens to generate at most (256; in a chat as many as fit)");
  add_number(command, "--temperature", temperature, "divides the logits; 0: always the likeliest token")
      ->type_name("T");
  add_number(command, "--top-p", top_p, "keep the likeliest tokens that reach this probability together; 1: all")
      ->type_name("P");
  add_number(command, "--top-k", top_k, "keep the K likeliest tokens; 0: all")->type_name("K");
  add_number(command, "--min-p", min_p, "drop tokens below this share of the likeliest one's probability; 0: none")
      ->type_name("P");
  add_number(command, "--repetition-penalty", repetition_penalty,
             "makes tokens of prompt and answer less likely above 1; 1: off")
      ->type_name("R");
  add_number(command, "--presence-penalty", presence_penalty,
             "subtracted once from the logits of tokens already generated")
      ->type_name("B");
  add_number(command, "--frequency-penalty", frequency_penalty,
             "subtracted from a token's logit each time it was generated")
      ->type_name("B");
  command.add_option("--logit-bias", logit_bias, "adds B to the logit of token ID, repeatable")
      ->allow_extra_args(false)
      ->type_name("ID=B");
  add_number(command, "--seed", seed, "of the random numbers (default: a random one, reported)")->type_name("S");
  command.add_option("--stop", stop, "text that ends the answer and is not part of it, repeatable")
      ->allow_extra_args(false);
  command.add_flag("--ignore-eos", ignore_eos, "go on after end tokens");
  add_number(command, "--logprobs", logprobs,
             "log-probabilities of each token and of the K likeliest (generate --output json)")
      ->type_name("K");
}

SamplingParams SamplingFlags::apply(SamplingParams p) const {
  p.temperature = temperature.value_or(p.temperature);
  p.top_p = top_p.value_or(p.top_p);
  p.top_k = top_k.value_or(p.top_k);
  p.min_p = min_p.value_or(p.min_p);
  p.repetition_penalty = repetition_penalty.value_or(p.repetition_penalty);
  p.presence_penalty = presence_penalty.value_or(p.presence_penalty);
  p.frequency_penalty = frequency_penalty.value_or(p.frequency_penalty);
  p.max_tokens = max_tokens.value_or(p.max_tokens);
  for (const std::string& text : stop) {
    if (text.empty()) fail(ErrorKind::usage, "--stop: the text is empty");
    require_utf8(text, "--stop");
  }
  for (const std::string& bias : logit_bias) p.logit_bias.push_back(parse_bias(bias));
  if (logprobs) {
    if (*logprobs < 0 || *logprobs > 1000)
      fail(ErrorKind::usage, "logprobs is {}: it must be between 0 and 1000", *logprobs);
    p.num_logprobs = static_cast<int32_t>(*logprobs);
  }
  p.seed = seed ? *seed : std::random_device{}();
  p.check();
  return p;
}

}  // namespace qwill::cli
