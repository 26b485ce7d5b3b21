// GGUF models as checkpoints: configuration and tensors by the hub's names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "weights/gguf_config.h"
#include "weights/gguf_tensors.h"
#include "weights/tiny_gguf.h"

namespace qwill::test {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

std::string model_error(const GgufWriter& model) {
  TemporaryFolder folder;
  write_file(folder.path("x.gguf"), model.bytes());
  const std::string message = error_of([&] { open_gguf_model(folder.path("x.gguf")); });
  EXPECT_TRUE(message.empty() || message.find(folder.path("x.gguf")) == 0) << message;
  return message.empty() ? "" : message.substr(folder.path("x.gguf: ").size());
}

TEST(GgufModel, IsTheSameAsTheHubsCheckpoint) {
  for (const Json& config : {gguf_dense_config(), gguf_moe_config()}) {
    for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
      TemporaryFolder folder;
      write_file(folder.path("model.gguf"), tiny_gguf(config, dtype).bytes());
      const Checkpoint checkpoint = open_gguf_model(folder.path("model.gguf"));
      const ModelConfig wanted = ModelConfig::from_json(config), &found = checkpoint.config();
      EXPECT_EQ(found.hidden_size, wanted.hidden_size);
      EXPECT_EQ(found.num_layers, wanted.num_layers);
      EXPECT_EQ(found.num_heads, wanted.num_heads);
      EXPECT_EQ(found.num_kv_heads, wanted.num_kv_heads);
      EXPECT_EQ(found.head_dim, wanted.head_dim);
      EXPECT_EQ(found.intermediate_size, wanted.intermediate_size);
      EXPECT_EQ(found.vocab_size, wanted.vocab_size);
      EXPECT_EQ(found.max_position_embeddings, wanted.max_position_embeddings);
      EXPECT_EQ(found.rms_norm_eps, wanted.rms_norm_eps);
      EXPECT_EQ(found.rope_theta, wanted.rope_theta);
      EXPECT_EQ(found.tie_word_embeddings, wanted.tie_word_embeddings);
      ASSERT_EQ(found.moe.has_value(), wanted.moe.has_value());
      if (wanted.moe) {
        EXPECT_EQ(found.moe->num_experts, wanted.moe->num_experts);
        EXPECT_EQ(found.moe->num_experts_per_tok, wanted.moe->num_experts_per_tok);
        EXPECT_EQ(found.moe->moe_intermediate_size, wanted.moe->moe_intermediate_size);
        EXPECT_TRUE(found.moe->norm_topk_prob);
      }
      EXPECT_THAT(checkpoint.generation_config().eos_token_ids, ElementsAre(2));
      EXPECT_EQ(checkpoint.total_bytes(), wanted.num_parameters() * dtype_bytes(dtype));
      for (const OwnedTensor& tensor : tiny_tensors(config, dtype)) {
        const StoredTensor& stored = checkpoint.tensor(tensor.name, tensor.shape);
        EXPECT_EQ(stored.dtype, dtype);
        EXPECT_TRUE(std::ranges::equal(stored.bytes, tensor.bytes)) << tensor.name;
      }
    }
  }
}

TEST(GgufModel, NamesOfTensors) {
  EXPECT_EQ(gguf_place("model.embed_tokens.weight").name, "token_embd.weight");
  EXPECT_EQ(gguf_place("model.layers.17.self_attn.o_proj.weight").name, "blk.17.attn_output.weight");
  EXPECT_EQ(gguf_place("model.layers.0.mlp.gate.weight").name, "blk.0.ffn_gate_inp.weight");
  EXPECT_EQ(gguf_place("model.layers.93.mlp.experts.127.down_proj.weight").name, "blk.93.ffn_down_exps.weight");
  EXPECT_EQ(gguf_place("model.layers.93.mlp.experts.127.down_proj.weight").expert, 127);
  EXPECT_EQ(gguf_place("model.norm.weight").expert, -1);
}

TEST(GgufModel, MatricesMayComeInBlocks) {
  Json config = gguf_dense_config();
  config.set("hidden_size", 32).set("head_dim", 32).set("intermediate_size", 64);
  GgufWriter model = tiny_gguf(config);
  for (GgufWriter::Tensor& tensor : model.tensors) {
    if (tensor.shape.size() < 2) continue;
    tensor.type = 8;
    tensor.bytes.assign(static_cast<size_t>(tensor.shape[0] * tensor.shape[1] / 32 * 34), 'q');
  }
  EXPECT_EQ(model_error(model), "");
  auto& norm = *std::ranges::find(model.tensors, "output_norm.weight", &GgufWriter::Tensor::name);
  norm.type = 8;
  norm.bytes.assign(34, 'q');
  EXPECT_THAT(model_error(model), HasSubstr("output_norm.weight: type Q8_0 is not supported"));
}

TEST(GgufModel, NamesWhatIsWrongWithATensor) {
  for (const Json& config : {gguf_dense_config(), gguf_moe_config()}) {
    const GgufWriter good = tiny_gguf(config);
    for (size_t i = 0; i < good.tensors.size(); ++i) {
      const std::string name = good.tensors[i].name;
      GgufWriter model = good;
      model.tensors.erase(model.tensors.begin() + static_cast<ptrdiff_t>(i));
      // Without a head it is tied to the embedding, as far as anyone can tell.
      if (name != "output.weight") {
        EXPECT_THAT(model_error(model), HasSubstr(name + ": missing"));
      }
      model = good;
      model.tensors[i].type = 16;
      model.tensors[i].shape.back() = 256;
      model.tensors[i].bytes.assign(size_t{66} * 1000, 'x');
      EXPECT_THAT(model_error(model), HasSubstr(name)) << "IQ2_XXS";
      model = good;
      model.tensors[i].shape.back() += 1;
      model.tensors[i].bytes += std::string(1000, 'x');
      EXPECT_THAT(model_error(model), testing::AnyOf(HasSubstr(": expected ["), HasSubstr("hidden"))) << name;
    }
  }
  GgufWriter model = tiny_gguf(gguf_moe_config());
  auto& experts = *std::ranges::find(model.tensors, "blk.1.ffn_up_exps.weight", &GgufWriter::Tensor::name);
  experts.shape[0] = 2;
  EXPECT_EQ(model_error(model), "blk.1.ffn_up_exps.weight: expected [3, 6, 16], found [2, 6, 16]");
  experts.shape = {18, 16};
  EXPECT_EQ(model_error(model), "blk.1.ffn_up_exps.weight: expected [3, 6, 16], found [18, 16]");
  model = tiny_gguf(gguf_dense_config());
  model.tensors[1].type = 18;
  model.tensors[1].shape = {256};
  model.tensors[1].bytes.assign(98, 'x');
  EXPECT_THAT(model_error(model), HasSubstr("blk.0.attn_norm.weight: type IQ3_XXS is not supported, only BF16, F16"));
}

TEST(GgufModel, RefusesByTheFilesOwnKeys) {
  const auto changed = [](const std::string& key, auto value) {
    return model_error(tiny_gguf(gguf_dense_config()).set(key, value));
  };
  EXPECT_EQ(changed("general.architecture", "llama"),
            "general.architecture: llama is not supported, only qwen3 and qwen3moe are");
  EXPECT_EQ(model_error(GgufWriter()), "general.architecture: missing");
  EXPECT_EQ(changed("qwen3.block_count", 0u), "qwen3.block_count: expected 1 to 10000, found 0");
  EXPECT_EQ(changed("qwen3.attention.head_count_kv", 3u),
            "qwen3.attention.head_count_kv: 3 does not divide num_attention_heads 4");
  EXPECT_EQ(changed("qwen3.block_count", "two"), "qwen3.block_count: expected an integer, found a string");
  EXPECT_THAT(changed("qwen3.rope.freq_base", 0.5f), HasSubstr("qwen3.rope.freq_base: expected more than 1"));
  EXPECT_THAT(changed("qwen3.attention.layer_norm_rms_epsilon", 0.0f), HasSubstr("qwen3.attention.layer_norm_rms"));
  EXPECT_EQ(changed("qwen3.pooling_type", 3u), "qwen3.pooling_type: 3 is not supported: an embedding model");
  EXPECT_THAT(changed("qwen3.attention.sliding_window", 4096u), HasSubstr("sliding windows"));
  EXPECT_THAT(changed("qwen3.attention.value_length", 4u), HasSubstr("qwen3.attention.value_length: 4 is not"));
  EXPECT_THAT(changed("qwen3.rope.dimension_count", 4u), HasSubstr("qwen3.rope.dimension_count: 4 is not"));
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "attention.layer_norm_rms_epsilon", "rope.freq_base"})
    EXPECT_THAT(model_error(tiny_gguf(gguf_dense_config()).remove(std::string("qwen3.") + key)),
                EndsWith(std::string(key) + ": missing"));
  for (const char* key : {"expert_count", "expert_used_count", "expert_feed_forward_length"})
    EXPECT_THAT(model_error(tiny_gguf(gguf_moe_config()).remove(std::string("qwen3moe.") + key)),
                EndsWith(std::string(key) + ": missing"));
  GgufWriter biased = tiny_gguf(gguf_dense_config());
  biased.tensors.push_back({"blk.0.attn_q.bias", 0, {32}, std::string(128, '\0')});
  EXPECT_EQ(model_error(biased), "blk.0.attn_q.bias: biases are not supported");
}

TEST(GgufModel, ReadsYarn) {
  GgufWriter model = tiny_gguf(gguf_dense_config());
  model.set("qwen3.rope.scaling.type", "yarn").set("qwen3.rope.scaling.factor", 4.0f);
  model.set("qwen3.rope.scaling.original_context_length", 64u);
  const auto yarn = [&](const GgufWriter& file) {
    const std::string bytes = file.bytes();
    std::vector<GgufFile> shards;
    shards.push_back(GgufFile::parse(MappedFile::view(std::as_bytes(std::span(bytes)), "x.gguf")));
    return read_gguf_config(shards).yarn;
  };
  const YarnConfig found = yarn(model).value(), wanted = ModelConfig::from_json(tiny_dense_config()).yarn.value();
  EXPECT_EQ(found.factor, wanted.factor);
  EXPECT_EQ(found.original_max_position_embeddings, wanted.original_max_position_embeddings);
  EXPECT_EQ(found.attention_factor, wanted.attention_factor);
  EXPECT_EQ(found.beta_fast, 32);
  EXPECT_EQ(found.beta_slow, 1);
  EXPECT_EQ(yarn(model.set("qwen3.rope.scaling.yarn_beta_fast", 8.0f))->beta_fast, 8);
  // The same said in another way.
  model.set("qwen3.rope.scaling.yarn_attn_factor", 1.1386294f).set("qwen3.rope.scaling.attn_factor", 1.0f);
  EXPECT_EQ(yarn(model)->attention_factor, wanted.attention_factor);
  EXPECT_EQ(error_of([&] { yarn(model.set("qwen3.rope.scaling.attn_factor", 1.5f)); }),
            "x.gguf: qwen3.rope.scaling.attn_factor: 1.5 is not supported, only 1 and 1.13863, which goes with the "
            "factor 4");
  const auto scaled = [&](const char* type, float factor) {
    return yarn(
        tiny_gguf(gguf_dense_config()).set("qwen3.rope.scaling.type", type).set("qwen3.rope.scaling.factor", factor));
  };
  EXPECT_FALSE(scaled("none", 4));
  EXPECT_FALSE(scaled("linear", 1));
  EXPECT_THAT(error_of([&] { scaled("linear", 4); }), HasSubstr("rope_type: linear is not supported"));
  EXPECT_THAT(error_of([&] { scaled("yarn", 0); }), HasSubstr("factor: expected more than 0"));
}

TEST(GgufModel, ReadsHowToSampleAndToEnd) {
  const auto read = [](const GgufWriter& writer) {
    const std::string bytes = writer.bytes();
    return read_gguf_generation_config(GgufFile::parse(MappedFile::view(std::as_bytes(std::span(bytes)), "x.gguf")));
  };
  GgufWriter writer;
  EXPECT_FALSE(read(writer).do_sample);
  EXPECT_TRUE(read(writer).eos_token_ids.empty());
  writer.set("general.sampling.temp", 0.6f).set("general.sampling.top_p", 0.95f);
  writer.set_raw("general.sampling.top_k", GgufType::i32, raw<int32_t>(20));
  writer.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "<|endoftext|>", "<|im_end|>"});
  writer.set("tokenizer.ggml.eos_token_id", 2u).set("tokenizer.ggml.eot_token_id", 2u);
  const GenerationConfig config = read(writer);
  EXPECT_TRUE(config.do_sample);
  EXPECT_EQ(config.temperature, 0.6);
  EXPECT_EQ(config.top_p, 0.95);
  EXPECT_EQ(config.top_k, 20);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 1));
  EXPECT_FALSE(read(writer.set("general.sampling.temp", 0.0f)).do_sample);
  EXPECT_THAT(error_of([&] { read(writer.set("general.sampling.top_p", 2.0f)); }), HasSubstr("top_p: expected"));
}

}  // namespace
}  // namespace qwill::test
