#include "qwill/llm.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "llm/memory_plan.h"
#include "llm/parts.h"
#include "weights/warm_up.h"

namespace qwill {

Llm::Parts::Parts(const LlmOptions& wanted, std::future<Backend> opening)
    : options(wanted),
      folder(ModelFolder::find(wanted.model, wanted.hub_cache)),
      checkpoint(Checkpoint::open(folder)),
      tokenizer(open_tokenizer(folder)) {
  Backend backend = opening.get();
  if (backend.on_cuda && !checkpoint.panels().empty())  // which was not known yet
    backend = open_backend(options, checkpoint.panels());
  ops = std::move(backend.ops);
  device_name = backend.name;
  const ModelConfig config = with_rope(checkpoint.config(), options.rope);
  warnings = config.warnings;
  if (!backend.trouble.empty()) warnings.push_back("the CPU is used: " + backend.trouble);
  const CheckpointTensors tensors(checkpoint);
  if (backend.on_cuda && options.memory_bytes > cuda_free_bytes(backend.cuda))  // a whole card was meant, perhaps
    options.memory_bytes = 0;                                                   // what is free, as it is measured
  const MemoryPlan plan = plan_memory(options, backend, {config, tensors, checkpoint.total_bytes()});
  if (!backend.on_cuda)  // a card reads the files while it loads them
    warm_up(checkpoint.files(), checkpoint.rare_bytes(), num_threads(backend.cpu), options.progress, options.cancel);
  model = load_model(*ops, config, rope_settings(config), tensors, options.dtype);
  if (options.max_seq_len > config.context_len())
    warnings.push_back(fmt::format("--max-seq-len {} is beyond the {} positions that the configuration names",
                                   options.max_seq_len, config.context_len()));
  if (options.max_seq_len == 0 && plan.max_seq_len < config.context_len())
    warnings.push_back(
        fmt::format("sequences may have {} tokens here, since no more fit beside the weights; the model allows {}",
                    plan.max_seq_len, config.context_len()));
  auto core =
      std::make_unique<EngineCore>(*ops, *model,
                                   EngineConfig{.max_seq_len = plan.max_seq_len,
                                                .num_pages = plan.num_pages,
                                                .page_size = plan.page_size,
                                                .chunk_size = backend.chunk_size,
                                                .mixed_chunk_size = backend.mixed_chunk_size,
                                                .max_sequences = plan.max_sequences,
                                                .reserve = options.reserve,
                                                .kv_dtype = plan.kv_dtype,
                                                .num_drawable = tokenizer ? tokenizer->size() : config.vocab_size,
                                                .rope_when = options.rope_when});
  delivery = std::make_unique<Delivery>();
  engine = std::make_unique<Engine>(std::move(core), options.max_queued);
}

const Tokenizer& Llm::Parts::require_tokenizer() const {
  if (!tokenizer) fail_invalid("{}: no {}: give the prompt with --token-ids", folder.name(), tokenizer_place(folder));
  return *tokenizer;
}

std::vector<int32_t> Llm::Parts::encode_prompt(const std::vector<PromptSegment>& segments) const {
  std::vector<Tokenizer::Segment> parts;
  for (const PromptSegment& segment : segments)
    parts.push_back({segment.text, segment.trusted ? Tokenizer::Special::parse : Tokenizer::Special::as_text});
  return require_tokenizer().encode_segments(parts);
}

const ChatTemplate& Llm::Parts::chat_template(bool with_tools) const {
  const std::lock_guard lock(templates_mutex_);
  std::optional<ChatTemplate>& found = templates_[with_tools ? 1 : 0];
  if (!found) found = open_chat_template(folder, options.chat_template, with_tools);
  return *found;
}

std::vector<int32_t> Llm::Parts::encode_chat(const Json& chat) const {
  return encode_prompt(chat_template(chat.find_value("tools") != nullptr).render_segments(chat));
}

std::unique_ptr<Llm> Llm::open(const LlmOptions& options) { return std::unique_ptr<Llm>(new Llm(options)); }

Llm::Llm(const LlmOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  // A card takes a while to answer: meanwhile the files are opened.
  parts_ =
      std::make_unique<Parts>(options, std::async(std::launch::async, [options] { return open_backend(options); }));
  parts_->load_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Llm::~Llm() = default;

std::vector<int32_t> Llm::encode(std::string_view text, bool plain) const {
  return parts_->require_tokenizer().encode(text, plain ? Tokenizer::Special::as_text : Tokenizer::Special::parse);
}

std::string Llm::decode(const std::vector<int32_t>& ids) const { return parts_->require_tokenizer().decode(ids); }

std::vector<int32_t> Llm::encode_chat(std::string_view json) const { return parts_->encode_chat(Json::parse(json)); }

SamplingParams Llm::default_sampling() const {
  const GenerationConfig& config = parts_->checkpoint.generation_config();
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

Llm::Job Llm::submit(GenerateRequest request, Sink sink) {
  if (!request.stop.empty()) parts_->require_tokenizer();
  for (const std::string& stop : request.stop)
    if (stop.empty()) fail(ErrorKind::usage, "a stop string is empty");
  Request wanted{.prompt = std::move(request.prompt),
                 .sampling = std::move(request.sampling),
                 .priority = request.priority,
                 .deadline = request.deadline,
                 .cache_namespace = request.cache_namespace};
  if (!request.ignore_eos) {
    const auto& ends = parts_->checkpoint.generation_config().eos_token_ids;
    wanted.sampling.stop_ids.insert(wanted.sampling.stop_ids.end(), ends.begin(), ends.end());
  }
  const auto answer = std::make_shared<Answer>(parts_->tokenizer ? &*parts_->tokenizer : nullptr,
                                               std::move(request.stop), std::move(sink));
  Job job{.sequence = 0, .result = answer->result()};
  Engine& engine = *parts_->engine;
  Delivery& delivery = *parts_->delivery;
  job.sequence = engine.submit(std::move(wanted), [&engine, &delivery, answer](TokenEvent&& event) {
    delivery.push(engine, answer, std::move(event));
  });
  return job;
}

void Llm::cancel(int64_t sequence) { parts_->engine->cancel(sequence); }

GenerateResult Llm::generate(GenerateRequest request, Sink sink, const std::atomic<bool>* cancel) {
  Job job = submit(std::move(request), std::move(sink));
  if (cancel) {
    constexpr auto kPoll = std::chrono::milliseconds(10);
    while (job.result.wait_for(kPoll) == std::future_status::timeout)
      if (cancel->load()) this->cancel(job.sequence);
  }
  return job.result.get();
}

Engine& Llm::engine() { return *parts_->engine; }
const std::string& Llm::device_name() const { return parts_->device_name; }
const std::vector<std::string>& Llm::warnings() const { return parts_->warnings; }
double Llm::load_s() const { return parts_->load_s; }

}  // namespace qwill
