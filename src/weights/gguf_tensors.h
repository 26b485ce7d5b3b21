// Tensors of GGUF files by the hub's names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "weights/gguf.h"
#include "weights/model_config.h"

namespace qwill {

// What GGUF calls the tensor that the hub calls so: "model.layers.3.self_attn.q_proj.weight" is "blk.3.attn_q.weight".
// The experts of a layer are one tensor there: "model.layers.3.mlp.experts.7.up_proj.weight" is a part of
// "blk.3.ffn_up_exps.weight".
struct GgufPlace {
  std::string name;
  int64_t expert = -1;  // which part; -1: the whole
};
GgufPlace gguf_place(std::string_view hub_name);

// The shards with the tensors that a model of this configuration reads under the hub's names, each expert on its own;
// others keep theirs. Throws Error(invalid) naming file and tensor: experts that are not num_experts of one shape, a
// tensor in two shards.
std::vector<TensorFile> with_hub_names(std::vector<GgufFile> shards, const ModelConfig& config);

}  // namespace qwill
