#include "llm/llm.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "llm/stop_strings.h"
#include "text/detokenizer.h"
#include "weights/warm_up.h"

namespace qwill {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The configuration with the command line's rope in place of the file's.
ModelConfig with_rope(ModelConfig config, const std::optional<RopeOverride>& rope) {
  if (!rope) return config;
  const int64_t trained = config.trained_len();
  config.yarn.reset();
  config.max_position_embeddings = trained;
  if (rope->yarn) {
    config.yarn = YarnConfig{.factor = rope->factor,
                             .original_max_position_embeddings = trained,
                             .attention_factor = 0.1 * std::log(rope->factor) + 1};
    config.max_position_embeddings = static_cast<int64_t>(static_cast<double>(trained) * rope->factor);
  }
  return config;
}

}  // namespace

std::optional<Tokenizer> open_tokenizer(const ModelFolder& folder) {
  const std::optional<MappedFile> file = folder.open_if_present("tokenizer.json");
  if (!file) return std::nullopt;
  return with_context(file->name(), [&] { return Tokenizer::from_json(file->text()); });
}

std::optional<std::string> read_chat_template(const ModelFolder& folder, bool with_tools) {
  std::optional<std::string> jinja;
  if (const auto file = folder.open_if_present("chat_template.jinja")) jinja = std::string(file->text());
  const auto config_file = folder.open_if_present("tokenizer_config.json");
  const Json config = config_file ? folder.open_json("tokenizer_config.json") : Json::object();
  return with_context(folder.name_of("tokenizer_config.json"),
                      [&] { return chat_template_text(jinja, config, with_tools); });
}

ChatTemplate open_chat_template(const ModelFolder& folder, const std::string& name, bool with_tools) {
  if (!name.empty()) return ChatTemplate::named(name);
  const std::optional<std::string> text = read_chat_template(folder, with_tools);
  return with_context(folder.name(), [&] {
    if (!text)
      fail_unsupported("no chat template: name one with --chat-template NAME (known: {})", ChatTemplate::known_names());
    return ChatTemplate::recognise(*text);
  });
}

std::unique_ptr<Llm> Llm::open(const LlmOptions& options) {
  // A card takes a while to answer: meanwhile the files are opened.
  auto backend = std::async(std::launch::async, open_backend, options);
  return std::unique_ptr<Llm>(new Llm(options, std::move(backend)));
}

Llm::Llm(const LlmOptions& options, std::future<Backend> opening)
    : options_(options),
      folder_(ModelFolder::find(options.model, options.hub_cache)),
      checkpoint_(Checkpoint::open(folder_)),
      tokenizer_(open_tokenizer(folder_)) {
  Backend backend = opening.get();
  ops_ = std::move(backend.ops);
  device_name_ = backend.name;
  const ModelConfig config = with_rope(checkpoint_.config(), options.rope);
  warnings_ = config.warnings;
  if (!backend.on_cuda)  // a card reads the files while it loads them
    warm_up(checkpoint_.files(), num_threads(backend.cpu), options.progress, options.cancel);
  const int64_t context = config.context_len();
  const int64_t max_seq_len = options.max_seq_len > 0 ? options.max_seq_len : context;
  require_room(backend, config, options.dtype, options.kv_dtype.value_or(DType::bf16), max_seq_len);
  model_ = load_model(*ops_, config, rope_settings(config), CheckpointTensors(checkpoint_), options.dtype);
  if (options.max_seq_len > context)
    warnings_.push_back(fmt::format("--max-seq-len {} is beyond the {} positions that the configuration names",
                                    options.max_seq_len, context));
  engine_ = std::make_unique<Engine>(*ops_, *model_,
                                     EngineConfig{.max_seq_len = max_seq_len,
                                                  .chunk_size = backend.chunk_size,
                                                  .kv_dtype = options.kv_dtype,
                                                  .num_drawable = tokenizer_ ? tokenizer_->size() : config.vocab_size,
                                                  .rope_when = options.rope_when});
  load_s_ = seconds_since(opened_);
}

const Tokenizer& Llm::require_tokenizer() const {
  if (!tokenizer_) fail_invalid("{}: no tokenizer.json: give the prompt with --token-ids", folder_.name());
  return *tokenizer_;
}

std::vector<int32_t> Llm::encode_prompt(const std::vector<PromptSegment>& segments) const {
  std::vector<Tokenizer::Segment> parts;
  for (const PromptSegment& segment : segments)
    parts.push_back({segment.text, segment.trusted ? Tokenizer::Special::parse : Tokenizer::Special::as_text});
  return require_tokenizer().encode_segments(parts);
}

ChatTemplate Llm::chat_template(bool with_tools) const {
  return open_chat_template(folder_, options_.chat_template, with_tools);
}

SamplingParams Llm::default_sampling() const {
  const GenerationConfig& config = checkpoint_.generation_config();
  SamplingParams params;
  params.repetition_penalty = config.repetition_penalty.value_or(1);
  if (config.do_sample) {
    params.temperature = config.temperature.value_or(1);
    params.top_k = config.top_k.value_or(50);  // the reference's default when it samples
    params.top_p = config.top_p.value_or(1);
    params.min_p = config.min_p.value_or(0);
  }
  return params;
}

GenerateResult Llm::generate(const GenerateRequest& request, const TextSink& on_text, const std::atomic<bool>* cancel) {
  const auto start = Clock::now();
  Request engine_request{request.prompt, request.sampling};
  if (!request.ignore_eos) {
    auto& stop_ids = engine_request.sampling.stop_ids;
    const auto& ends = checkpoint_.generation_config().eos_token_ids;
    stop_ids.insert(stop_ids.end(), ends.begin(), ends.end());
  }
  if (!request.stop.empty()) require_tokenizer();
  for (const std::string& stop : request.stop)
    if (stop.empty()) fail(ErrorKind::usage, "a stop string is empty");
  const int64_t sequence = engine_->add(std::move(engine_request));

  GenerateResult result;
  StopStrings stops(request.stop);
  std::optional<Detokenizer> detokenizer;
  if (tokenizer_) detokenizer.emplace(*tokenizer_, Detokenizer::Special::skip);
  const auto emit = [&](const std::string& text) {
    result.text += text;
    if (on_text && !text.empty()) on_text(text);
  };
  auto first_token = start;
  bool ended = false;
  while (!ended) {
    if ((cancel && cancel->load()) || stops.found()) engine_->cancel(sequence);
    for (TokenEvent& event : engine_->step()) {
      if (event.draw) {
        if (result.token_ids.empty()) first_token = Clock::now();
        result.token_ids.push_back(event.draw->id);
        if (detokenizer) emit(stops.push(detokenizer->push(event.draw->id)));
        result.draws.push_back(std::move(*event.draw));
      }
      if (!event.finish) continue;
      if (*event.finish == FinishReason::failed) fail(ErrorKind::device, "{}", engine_->failure());
      ended = true;
      result.finish = *event.finish;
      if (event.stop_id >= 0) result.stop_id = event.stop_id;
    }
  }
  if (detokenizer) emit(stops.push(detokenizer->finish()) + stops.finish());
  if (stops.found()) {
    result.finish = FinishReason::stop;
    result.stop_string = stops.found();
    result.stop_id.reset();
  }
  result.prefill_s = result.ttft_s = std::chrono::duration<double>(first_token - start).count();
  result.decode_s = seconds_since(first_token);
  return result;
}

}  // namespace qwill
