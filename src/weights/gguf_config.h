// A GGUF model's metadata as the hub's configurations have it, checked by the same code.
#pragma once

#include <span>

#include "weights/gguf.h"
#include "weights/model_config.h"

namespace qwill {

// Of architectures qwen3 and qwen3moe; the first shard holds the metadata. Throws Error naming file and key: as
// ModelConfig::from_json does, and Error(unsupported) for what the format could ask for and the model has not.
ModelConfig read_gguf_config(std::span<const GgufFile> shards);

// End tokens, and how to sample if the file says so (general.sampling.*).
GenerationConfig read_gguf_generation_config(const GgufFile& file);

}  // namespace qwill
