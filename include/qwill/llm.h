// Text in, text out, many requests at once.
//
//     qwill::LlmOptions options;
//     options.model = "./Qwen3-8B-Base";
//     const auto llm = qwill::Llm::open(options);
//     qwill::GenerateRequest request;
//     request.prompt = llm->encode("The capital of France is");
//     request.sampling = llm->default_sampling();
//     std::cout << llm->generate(request).text;
//
// Every method may be called from any thread.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwill/engine.h"
#include "qwill/error.h"
#include "qwill/options.h"
#include "qwill/request.h"

namespace qwill {

struct GenerateRequest {
  std::vector<int32_t> prompt;  // token ids, see Llm::encode
  SamplingParams sampling;      // the model's end tokens are added to stop_ids unless ignore_eos
  bool ignore_eos = false;
  std::vector<std::string> stop;  // strings that end the answer; not part of it. Need a tokenizer
  int32_t priority = 0;           // lower comes first
  std::optional<Request::Clock::time_point> deadline = {};
  int32_t cache_namespace = 0;
};

struct GenerateResult {
  std::string text;  // empty without a tokenizer
  std::vector<int32_t> token_ids;
  std::vector<Draw> draws;         // of token_ids, with their log-probabilities if asked for
  std::vector<Draw> prompt_draws;  // of the prompt from its second token on, if asked for
  FinishReason finish = FinishReason::length;
  std::optional<std::string> stop_string;
  std::optional<Draw> stop_token;   // the end token that stopped it: no part of token_ids
  double ttft_s = 0, decode_s = 0;  // to the first token; from the first to the last
};

// What has become certain of an answer since the part before.
struct AnswerPart {
  std::string_view text;                   // complete UTF-8, no part of a stop string
  std::span<const Draw> draws;             // new tokens; their text may come with a later part
  std::span<const Draw> prompt_draws;      // of the prompt, if asked for; all come before or with the first token
  const GenerateResult* result = nullptr;  // the whole answer, with its last part
  std::exception_ptr error;                // instead of the rest: it has failed
};

class Llm {
 public:
  // Opens the folder, maps the weights and brings them to the device. Throws Error.
  static std::unique_ptr<Llm> open(const LlmOptions& options);
  // Cancels what runs; the futures of those requests are fulfilled.
  ~Llm();
  Llm(const Llm&) = delete;
  Llm& operator=(const Llm&) = delete;

  // Sees an answer grow. Called on a thread that serves all requests: it should not take long. What it throws ends the
  // request, and is thrown by the future.
  using Sink = std::function<void(const AnswerPart& part)>;

  // A request under way.
  struct Job {
    int64_t sequence = 0;
    std::future<GenerateResult> result;  // throws Error(device) if the device failed
  };
  // Throws Error: busy if too many wait already; usage or invalid for what can never be served; device.
  Job submit(GenerateRequest request, Sink sink = {});
  void cancel(int64_t sequence);

  // submit, and wait for the result. `cancel`, which may be null, is looked at meanwhile.
  GenerateResult generate(GenerateRequest request, Sink sink = {}, const std::atomic<bool>* cancel = nullptr);

  // Special tokens in the text are parsed, unless it is plain. Throw Error(invalid) if the model has no tokenizer.
  std::vector<int32_t> encode(std::string_view text, bool plain = false) const;
  std::string decode(const std::vector<int32_t>& ids) const;
  // The ids of a conversation by the model's chat template: {"messages", "tools", "enable_thinking", …} as JSON.
  // Special tokens count in the template's own words only. Throws Error(invalid or unsupported).
  std::vector<int32_t> encode_chat(std::string_view json) const;

  // The settings that generation_config.json asks for.
  SamplingParams default_sampling() const;

  // The engine below, in token ids.
  Engine& engine();

  const std::string& device_name() const;
  const std::vector<std::string>& warnings() const;
  double load_s() const;

  // What the model consists of, for the rest of this project (llm/parts.h).
  struct Parts;
  const Parts& parts() const { return *parts_; }

 private:
  explicit Llm(const LlmOptions& options);

  std::unique_ptr<Parts> parts_;
};

}  // namespace qwill
