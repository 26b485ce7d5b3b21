#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// text: a JSON object whose members replace those of config; a null removes the member.
Json changed(Json config, const std::string& text) {
  std::vector<Json::Member> members = config.as_object();
  const Json changes = Json::parse(text);
  for (const auto& [name, value] : changes.as_object()) {
    std::erase_if(members, [&key = name](const Json::Member& member) { return member.first == key; });
    if (!value.is_null()) members.emplace_back(name, value);
  }
  return Json::object(std::move(members));
}

ModelConfig read_dense(const std::string& changes) {
  return ModelConfig::from_json(changed(tiny_dense_config(), changes));
}
ModelConfig read_moe(const std::string& changes) { return ModelConfig::from_json(changed(tiny_moe_config(), changes)); }
std::string dense_error(const std::string& changes) {
  return error_of([&] { read_dense(changes); });
}
std::string moe_error(const std::string& changes) {
  return error_of([&] { read_moe(changes); });
}

TEST(ModelConfig, ReadsTheSpellingOfTransformers4) {
  const ModelConfig config = read_dense("{}");
  EXPECT_EQ(config.hidden_size, 16);
  EXPECT_EQ(config.num_layers, 2);
  EXPECT_EQ(config.num_heads, 4);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.intermediate_size, 24);
  EXPECT_EQ(config.vocab_size, 40);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 1e6);
  EXPECT_EQ(config.dtype, "bfloat16");
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.moe);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
  EXPECT_THAT(config.warnings, IsEmpty());
  ASSERT_TRUE(config.yarn);
  EXPECT_EQ(config.yarn->factor, 4);
  EXPECT_EQ(config.yarn->original_max_position_embeddings, 64);
  EXPECT_EQ(config.trained_len(), 64);
  EXPECT_EQ(config.context_len(), 256);
}

TEST(ModelConfig, ReadsTheSpellingOfTransformers5) {
  const ModelConfig config = read_moe("{}");
  EXPECT_EQ(config.rope_theta, 5e6);
  EXPECT_FALSE(config.yarn);
  EXPECT_EQ(config.dtype, "float32");
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 1));
  ASSERT_TRUE(config.moe);
  EXPECT_EQ(config.moe->num_experts, 3);
  EXPECT_EQ(config.moe->num_experts_per_tok, 2);
  EXPECT_EQ(config.moe->moe_intermediate_size, 6);
  EXPECT_TRUE(config.moe->norm_topk_prob);
  EXPECT_FALSE(config.is_moe_layer(0));
  EXPECT_TRUE(config.is_moe_layer(1));
  EXPECT_EQ(config.trained_len(), 256);
  EXPECT_EQ(config.context_len(), 256);
}

TEST(ModelConfig, RopeSpellingsMean) {
  const auto yarn = [](const std::string& changes) { return read_dense(changes).yarn; };
  // rope_scaling wins over rope_parameters unless it is empty; the inner rope_theta over the outer one.
  EXPECT_FALSE(yarn(R"({"rope_scaling": null})"));
  EXPECT_FALSE(yarn(R"({"rope_scaling": {}})"));
  EXPECT_FALSE(yarn(R"({"rope_scaling": {"type": "default"}})"));
  EXPECT_TRUE(yarn(R"({"rope_parameters": {"rope_type": "default"}})"));
  EXPECT_TRUE(yarn(R"({"rope_scaling": {"type": "yarn", "factor": 2}})"));
  EXPECT_FALSE(yarn(R"({"rope_scaling": {"type": "yarn", "rope_type": "default", "factor": 2}})"));
  EXPECT_EQ(read_dense(R"({"rope_scaling": {"rope_theta": 55.5}})").rope_theta, 55.5);
  EXPECT_EQ(read_dense(R"({"rope_scaling": {}, "rope_parameters": {"rope_theta": 77}})").rope_theta, 77);
  EXPECT_EQ(read_dense(R"({"rope_parameters": {"rope_theta": 77}})").rope_theta, 1e6);
  EXPECT_EQ(read_dense(R"({"rope_theta": null})").rope_theta, 10000);
}

// Values computed by transformers 5.17 (Qwen3RotaryEmbedding of such a configuration, attention_scaling).
TEST(ModelConfig, ResolvesYarnAsTheReferenceDoes) {
  const auto yarn = [](const std::string& members, const std::string& others = "") {
    return *read_dense(R"({"rope_scaling": {"rope_type": "yarn", )" + members + "}" + others + "}").yarn;
  };
  EXPECT_DOUBLE_EQ(yarn(R"("factor": 4)").attention_factor, 1.138629436111989);
  EXPECT_DOUBLE_EQ(yarn(R"("factor": 1)").attention_factor, 1);
  EXPECT_DOUBLE_EQ(yarn(R"("factor": 0.5)").attention_factor, 1);
  EXPECT_DOUBLE_EQ(yarn(R"("factor": 4, "attention_factor": null)").attention_factor, 1.138629436111989);
  EXPECT_DOUBLE_EQ(
      yarn(R"("factor": 4, "attention_factor": 1.5, "mscale": 2.0, "mscale_all_dim": 1.0)").attention_factor, 1.5);
  EXPECT_DOUBLE_EQ(yarn(R"("factor": 4, "mscale": 0.7)").attention_factor, 1.138629436111989);
  EXPECT_DOUBLE_EQ(yarn(R"("factor": 4, "mscale": 0.0, "mscale_all_dim": 0.3)").attention_factor, 1.138629436111989);
  EXPECT_DOUBLE_EQ(yarn(R"("factor": 4, "mscale": 0.7, "mscale_all_dim": 0.3)").attention_factor, 1.0532376815143234);
  // The factor must be there, but a null stands for the ratio of the two lengths.
  EXPECT_EQ(yarn(R"("factor": null, "original_max_position_embeddings": 32)").factor, 8);
  EXPECT_THAT(dense_error(R"({"rope_scaling": {"rope_type": "yarn"}})"), HasSubstr("factor: missing"));
  // The original length: beside the rope settings, in them, or the length itself.
  EXPECT_EQ(yarn(R"("factor": 4)").original_max_position_embeddings, 256);
  EXPECT_EQ(
      yarn(R"("factor": 4, "original_max_position_embeddings": 64)", R"(, "original_max_position_embeddings": 32)")
          .original_max_position_embeddings,
      32);
  // Zero and null betas are the defaults, a null truncate is false.
  EXPECT_EQ(yarn(R"("factor": 4)").beta_fast, 32);
  EXPECT_EQ(yarn(R"("factor": 4, "beta_fast": 0, "beta_slow": null)").beta_fast, 32);
  EXPECT_EQ(yarn(R"("factor": 4, "beta_fast": 0, "beta_slow": null)").beta_slow, 1);
  EXPECT_EQ(yarn(R"("factor": 4, "beta_fast": 8, "beta_slow": 0.5)").beta_slow, 0.5);
  EXPECT_TRUE(yarn(R"("factor": 4)").truncate);
  EXPECT_FALSE(yarn(R"("factor": 4, "truncate": null)").truncate);
  EXPECT_FALSE(yarn(R"("factor": 4, "truncate": false)").truncate);
}

TEST(ModelConfig, WarnsOfInconsistentLengths) {
  const auto warnings = [](const std::string& changes) { return read_dense(changes).warnings; };
  EXPECT_THAT(warnings(R"({"max_position_embeddings": 100})"),
              ElementsAre(HasSubstr("rope factor 4 is used, though max_position_embeddings 100 is 1.5625 times")));
  EXPECT_THAT(warnings(R"({"max_position_embeddings": 64})"), IsEmpty()) << "left as it was before YaRN";
  EXPECT_THAT(warnings(R"({"rope_scaling": {"factor": 4}})"), ElementsAre(HasSubstr("ignored")));
  EXPECT_THAT(warnings(R"({"eos_token_id": 40})"), ElementsAre(HasSubstr("outside the vocabulary")));
}

// Defaults of Qwen3Config and Qwen3MoeConfig, transformers 5.17.
TEST(ModelConfig, AbsentKeysTakeTheDefaultsOfTheClass) {
  const ModelConfig dense = read_dense(R"({"head_dim": null, "tie_word_embeddings": null, "rope_theta": null,
      "rope_scaling": null, "rms_norm_eps": null, "hidden_act": null, "max_position_embeddings": null,
      "eos_token_id": null, "torch_dtype": null, "attention_bias": null, "architectures": null})");
  EXPECT_EQ(dense.head_dim, 128);
  EXPECT_FALSE(dense.tie_word_embeddings);
  EXPECT_EQ(dense.rope_theta, 10000);
  EXPECT_EQ(dense.rms_norm_eps, 1e-6);
  EXPECT_EQ(dense.max_position_embeddings, 32768);
  EXPECT_THAT(dense.eos_token_ids, IsEmpty());

  const ModelConfig moe = read_moe(R"({"head_dim": null, "norm_topk_prob": null, "decoder_sparse_step": null,
      "mlp_only_layers": null, "tie_word_embeddings": null, "model_type": null})");
  EXPECT_EQ(moe.head_dim, 4);
  EXPECT_FALSE(moe.moe->norm_topk_prob);
  EXPECT_EQ(moe.moe->decoder_sparse_step, 1);
  EXPECT_TRUE(moe.is_moe_layer(0));
  EXPECT_FALSE(moe.tie_word_embeddings);
}

TEST(ModelConfig, NullHeadsFollowTheClass) {
  Json dense = tiny_dense_config(), moe = tiny_moe_config();
  dense.set("num_key_value_heads", Json());
  EXPECT_EQ(ModelConfig::from_json(dense).num_kv_heads, 4);
  dense.set("head_dim", Json());
  EXPECT_EQ(error_of([&] { ModelConfig::from_json(dense); }), "head_dim: missing");
  moe.set("head_dim", Json());
  EXPECT_EQ(ModelConfig::from_json(moe).head_dim, 4);
  moe.set("num_key_value_heads", Json());
  EXPECT_EQ(error_of([&] { ModelConfig::from_json(moe); }), "num_key_value_heads: missing");
}

TEST(ModelConfig, WhichLayersHaveExperts) {
  const ModelConfig config =
      read_moe(R"({"num_hidden_layers": 8, "decoder_sparse_step": 3, "mlp_only_layers": [5, 99]})");
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(config.is_moe_layer(i), i == 2) << i;
  EXPECT_FALSE(read_moe(R"({"num_local_experts": 0})").moe) << "no experts: dense";
  EXPECT_EQ(read_moe(R"({"num_experts": 2})").moe->num_experts, 3) << "num_local_experts wins";
  EXPECT_EQ(read_moe(R"({"num_local_experts": null, "num_experts": 2})").moe->num_experts, 2);
  EXPECT_EQ(read_moe(R"({"mlp_only_layers": [], "intermediate_size": null})").intermediate_size, 0)
      << "unused where every layer has experts";
  EXPECT_THAT(moe_error(R"({"intermediate_size": null})"), HasSubstr("intermediate_size: missing"));
}

TEST(ModelConfig, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"model_type": "llama"})", "model_type: llama is not supported"},
      {R"({"architectures": ["Qwen3ForSequenceClassification"]})",
       "architectures: Qwen3ForSequenceClassification is not"},
      {R"({"architectures": ["Qwen3MoeForCausalLM"]})", "architectures: Qwen3MoeForCausalLM does not go with"},
      {R"({"architectures": null, "model_type": null})", "model_type: missing"},
      {R"({"attention_bias": true})", "attention_bias: true is not supported"},
      {R"({"hidden_act": "gelu"})", "hidden_act: gelu is not supported"},
      {R"({"use_sliding_window": true, "sliding_window": 4096})", "use_sliding_window: "},
      {R"({"use_sliding_window": true, "sliding_window": null})",
       "use_sliding_window: "},  // removed: the default is 4096
      {R"({"layer_types": ["full_attention", "sliding_attention"]})",
       "layer_types: sliding_attention is not supported"},
      {R"({"quantization_config": {"quant_method": "fp8"}})", "quantization_config: checkpoints that others quantised (here: fp8)"},
      {R"({"rope_scaling": {"type": "linear", "factor": 2}})", "rope_type: linear is not supported"},
      {R"({"rope_scaling": {"rope_type": "llama3"}})", "rope_type: llama3 is not supported"},
      {R"({"rope_scaling": {"full_attention": {"rope_type": "yarn"}}})", "rope_scaling: settings for each layer type"},
      {R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor: 0.5 is not supported"},
  };
  for (const auto& [changes, message] : cases) EXPECT_THAT(dense_error(changes), HasSubstr(message)) << changes;

  Json off = changed(tiny_dense_config(), R"({"use_sliding_window": true})");
  off.set("sliding_window", Json());
  EXPECT_NO_THROW(ModelConfig::from_json(off)) << "a null window is none";
}

TEST(ModelConfig, RefusesInconsistentValues) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"num_key_value_heads": 3})", "num_key_value_heads: 3 does not divide num_attention_heads 4"},
      {R"({"head_dim": 7})", "head_dim: 7 is not an even number"},
      {R"({"hidden_size": 1048577})", "hidden_size: expected 1 to 1048576, found 1048577"},
      {R"({"rope_theta": 1})", "rope_theta: expected more than 1"},
      {R"({"rms_norm_eps": 0})", "rms_norm_eps: expected more than 0"},
      {R"({"eos_token_id": -1})", "eos_token_id: expected a token id, found -1"},
      {R"({"eos_token_id": [1, "x"]})", "eos_token_id: expected an integer, found a string"},
      {R"({"eos_token_id": 2147483648})", "eos_token_id: expected a token id"},
      {R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "mscale": -9, "mscale_all_dim": 1}})",
       "attention factor"},
      // Each value is allowed; together they are beyond any memory.
      {R"({"hidden_size": 1048576, "num_hidden_layers": 10000, "intermediate_size": 16777216, "head_dim": 65536,
           "num_attention_heads": 65536, "num_key_value_heads": 65536, "vocab_size": 16777216})",
       "more than 2^50"},
      {R"({"num_hidden_layers": 10000, "head_dim": 65536, "hidden_size": 2})", "more than 2^28"},
  };
  for (const auto& [changes, message] : cases) EXPECT_THAT(dense_error(changes), HasSubstr(message)) << changes;
  const std::pair<const char*, const char*> moe_cases[] = {
      {R"({"num_experts_per_tok": 4})", "num_experts_per_tok: expected 1 to 3, found 4"},
      {R"({"decoder_sparse_step": 0})", "decoder_sparse_step: expected 1"},
      {R"({"mlp_only_layers": [-1]})", "mlp_only_layers: expected layer indices, found -1"},
      {R"({"num_local_experts": 65536, "num_hidden_layers": 10000})",
       "num_local_experts: 65536 in each of 10000 layers"},
      {R"({"num_local_experts": 65536, "hidden_size": 1048576, "moe_intermediate_size": 16777216})", "more than 2^50"},
  };
  for (const auto& [changes, message] : moe_cases) EXPECT_THAT(moe_error(changes), HasSubstr(message)) << changes;
}

TEST(GenerationConfig, ReadsEveryField) {
  const GenerationConfig config = GenerationConfig::from_json(tiny_generation_config());
  EXPECT_TRUE(config.do_sample);
  EXPECT_EQ(config.temperature, 0.6);
  EXPECT_EQ(config.top_p, 0.95);
  EXPECT_EQ(config.min_p, 0.0);
  EXPECT_EQ(config.repetition_penalty, 1.0);
  EXPECT_EQ(config.top_k, 20);
  EXPECT_EQ(config.max_new_tokens, 2048);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 1));

  const GenerationConfig empty = GenerationConfig::from_json(Json::parse("{}"));
  EXPECT_FALSE(empty.do_sample);
  EXPECT_FALSE(empty.temperature || empty.top_p || empty.min_p || empty.repetition_penalty || empty.top_k ||
               empty.max_new_tokens);
  EXPECT_THAT(empty.eos_token_ids, IsEmpty());
}

}  // namespace
}  // namespace qwill::test
