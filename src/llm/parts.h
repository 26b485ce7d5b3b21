// What an open model consists of.
#pragma once

#include <array>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine_core.h"
#include "llm/backend.h"
#include "llm/delivery.h"
#include "llm/text_files.h"
#include "qwill/llm.h"
#include "weights/checkpoint.h"
#include "weights/model_folder.h"

namespace qwill {

struct Llm::Parts {
  Parts(const LlmOptions& options, std::future<Backend> backend);
  ~Parts() { engine->stop(); }

  // Throws Error(invalid) that names the folder if there is no tokenizer.
  const Tokenizer& require_tokenizer() const;
  // A rendered conversation: special tokens count in the template's own words only.
  std::vector<int32_t> encode_prompt(const std::vector<PromptSegment>& segments) const;
  // The template for requests with or without tools, looked up once. Throws Error(unsupported).
  const ChatTemplate& chat_template(bool with_tools) const;
  // Llm::encode_chat of JSON that has been read.
  std::vector<int32_t> encode_chat(const Json& chat) const;
  // With the rope that was asked for.
  const ModelConfig& config() const { return model->config(); }

  LlmOptions options;
  ModelFolder folder;
  Checkpoint checkpoint;
  std::optional<Tokenizer> tokenizer;  // nothing if the folder has no tokenizer.json
  std::string device_name;
  std::vector<std::string> warnings;
  double load_s = 0;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Model> model;
  // The engine's thread ends first, then the one that it delivers to, which still asks the engine.
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Delivery> delivery;

 private:
  mutable std::mutex templates_mutex_;
  mutable std::array<std::optional<ChatTemplate>, 2> templates_;  // without tools, with tools; as far as asked for
};

}  // namespace qwill
