// Text in, text out: the one place that wires a model's folder, its tokenizer, a backend and the engine together.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/cpu_ops.h"
#include "cuda/cuda_ops.h"
#include "engine/engine.h"
#include "model/model.h"
#include "text/bpe_tokenizer.h"
#include "text/chat_template.h"
#include "weights/checkpoint.h"
#include "weights/model_folder.h"

namespace qwill {

// --rope-scaling, --rope-factor: instead of what config.json says.
struct RopeOverride {
  bool yarn = false;  // false: plain
  double factor = 4;
};

struct LlmOptions {
  std::string model;      // a folder, a hub name, or empty for the built-in model
  std::string hub_cache;  // folder of the hub's local cache; may be empty
  std::string device = "auto";
  DTypeChoice dtype = DTypeChoice::automatic;
  int num_threads = 0;  // 0: as many as there are processors
  std::string cpu_path;
  bool cuda_portable = false;  // --cuda-path portable
  std::optional<DType> kv_dtype;
  int64_t max_seq_len = 0;  // 0: what the configuration allows
  int64_t chunk_size = 0;   // 0: what suits the device
  std::optional<RopeOverride> rope;
  RopeWhen rope_when = RopeWhen::always;
  std::string chat_template;  // name; empty: recognised by its text
  // Bytes of the weights that are in memory so far, of the total. May be empty.
  std::function<void(int64_t done, int64_t total)> progress;
  // Loading stops early when it becomes true; may be null.
  const std::atomic<bool>* cancel = nullptr;
};

struct GenerateRequest {
  std::vector<int32_t> prompt;
  SamplingParams sampling;  // stop_ids are filled in unless ignore_eos
  bool ignore_eos = false;
  std::vector<std::string> stop;  // strings that end the answer; not part of it. Need a tokenizer
};

struct GenerateResult {
  std::string text;  // empty without a tokenizer
  std::vector<int32_t> token_ids;
  std::vector<Draw> draws;  // of token_ids, with their log-probabilities if asked for
  FinishReason finish = FinishReason::length;
  std::optional<std::string> stop_string;
  std::optional<int32_t> stop_id;
  double ttft_s = 0, prefill_s = 0, decode_s = 0;  // decode: from the first token to the last
};

// The device that options name, opened. "auto" is a CUDA card where there is one.
struct Backend {
  std::unique_ptr<Ops> ops;
  std::string name;  // "cpu (avx512, 8 threads)", "cuda:0 (NVIDIA H100, hopper)"
  bool on_cuda = false;
  CudaOptions cuda;  // where on_cuda
  CpuOptions cpu;    // where not
  int64_t chunk_size = 512;
};
// Throws Error(unsupported) for a device that this build or machine does not have.
Backend open_backend(const LlmOptions& options);

class Llm {
 public:
  // Opens the folder, maps the weights and brings them into memory. Throws Error.
  static std::unique_ptr<Llm> open(const LlmOptions& options);

  // Streams text as it becomes certain (complete UTF-8, no part of a stop string) to on_text, which may be empty.
  // cancel is looked at between steps.
  using TextSink = std::function<void(std::string_view text)>;
  GenerateResult generate(const GenerateRequest& request, const TextSink& on_text,
                          const std::atomic<bool>* cancel = nullptr);

  // The settings that generation_config.json asks for.
  SamplingParams default_sampling() const;

  // nullptr if the folder has no tokenizer.json.
  const Tokenizer* tokenizer() const { return tokenizer_ ? &*tokenizer_ : nullptr; }
  // Throws Error(invalid) that names the folder if there is no tokenizer.
  const Tokenizer& require_tokenizer() const;
  // A rendered conversation: special tokens count in the template's own words only.
  std::vector<int32_t> encode_prompt(const std::vector<PromptSegment>& segments) const;
  // The template for requests with or without tools. Throws Error(unsupported).
  ChatTemplate chat_template(bool with_tools) const;

  Engine& engine() { return *engine_; }
  // With the rope that was asked for.
  const ModelConfig& config() const { return model_->config(); }
  const ModelFolder& folder() const { return folder_; }
  const std::string& device_name() const { return device_name_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  double load_s() const { return load_s_; }

 private:
  Llm(const LlmOptions& options, std::future<Backend> backend);

  LlmOptions options_;
  std::chrono::steady_clock::time_point opened_ = std::chrono::steady_clock::now();
  ModelFolder folder_;
  Checkpoint checkpoint_;
  std::optional<Tokenizer> tokenizer_;
  std::string device_name_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Engine> engine_;
  std::vector<std::string> warnings_;
  double load_s_ = 0;
};

// Throws Error(device), with what would fit, if the model and a cache of so many tokens are larger than the card.
void require_room(const Backend& backend, const ModelConfig& config, DTypeChoice dtype, DType kv_dtype,
                  int64_t max_seq_len);

// The tokenizer of a folder, nothing if it has none.
std::optional<Tokenizer> open_tokenizer(const ModelFolder& folder);

// The text of a folder's template, nothing if it has none.
std::optional<std::string> read_chat_template(const ModelFolder& folder, bool with_tools);

// The template of a folder, or the one named. Throws Error(unsupported) if there is neither.
ChatTemplate open_chat_template(const ModelFolder& folder, const std::string& name, bool with_tools);

}  // namespace qwill
