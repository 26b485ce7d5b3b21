// Where a model's files come from: a hub-format folder, the hub's local cache, a GGUF file, or the model built into the
// program.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/mapped_file.h"

namespace qwill {

class ModelFolder {
 public:
  // model: "" for the built-in model, a GGUF file, a folder, or a hub name ("Qwen/Qwen3-8B-Base", with "@REVISION" if
  // it is not the main one) found in the local hub cache (HF_HUB_CACHE, HF_HOME, ~/.cache/huggingface). A folder
  // without safetensors may hold one GGUF model instead. Throws Error(invalid) that says what was looked for where. The
  // environment is read by the caller: hub_cache names the cache's folder, may be empty.
  static ModelFolder find(const std::string& model, const std::string& hub_cache);

  // The path of the GGUF file that holds everything, or of any of its shards; empty for a model in the hub's format.
  const std::string& gguf() const { return gguf_; }

  // The file, or nothing if there is none. Throws Error(io) if it is there and cannot be opened.
  std::optional<MappedFile> open_if_present(std::string_view file) const;
  // Throws Error(invalid) "FOLDER: no FILE" with what to do.
  MappedFile open(std::string_view file) const;
  // A JSON file of at most 128 MiB; errors say which file.
  Json open_json(std::string_view file) const;
  // For messages: the folder's path, or "the built-in model".
  const std::string& name() const { return name_; }
  // The same of a file in it.
  std::string name_of(std::string_view file) const;

 private:
  // Makes it the folder's GGUF model, if it holds one instead of safetensors.
  void take_gguf();

  std::string name_;
  std::string path_;  // empty: built in
  std::string gguf_;
};

}  // namespace qwill
