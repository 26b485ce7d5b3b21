// Checkpoints that the reference implementation wrote or reads (tests/data/checkpoints), and one of the largest shape.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/error.h"
#include "support/test_paths.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

// Of memory and of mapped files, by this process so far.
int64_t pages_touched() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

Checkpoint open_reference(const std::string& name) {
  return Checkpoint::open(ModelFolder::find(source_path("tests/data/checkpoints/" + name), ""));
}

TEST(ReferenceCheckpoints, AllOpen) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/data/checkpoints"))) {
    if (!entry.is_directory()) continue;
    ++count;
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(error_of([&] {
                const Checkpoint checkpoint = open_reference(name);
                EXPECT_GT(checkpoint.total_bytes(), 0);
              }),
              "")
        << name;
  }
  EXPECT_GE(count, 20u);
}

TEST(ReferenceCheckpoints, BareConfigTakesTheClassDefaults) {
  const ModelConfig config = open_reference("bare").config();
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_FALSE(config.tie_word_embeddings);
}

TEST(ReferenceCheckpoints, DisagreeingKeys) {
  const ModelConfig config = open_reference("both-moe").config();
  EXPECT_EQ(config.moe->num_experts, 5);
  EXPECT_EQ(config.rope_theta, 100000);
  ASSERT_TRUE(config.yarn);
  EXPECT_EQ(config.yarn->original_max_position_embeddings, 16);
  EXPECT_EQ(open_reference("both-spellings").config().rope_theta, 5e6);
  EXPECT_EQ(open_reference("both-spellings").config().dtype, "bfloat16");
}

TEST(ReferenceCheckpoints, OtherNames) {
  const int64_t shape[] = {64, 64};
  const Checkpoint head_only = open_reference("head-only");
  EXPECT_EQ(head_only.tensor("model.embed_tokens.weight", shape).bytes.data(),
            head_only.tensor("lm_head.weight", shape).bytes.data());
  const Checkpoint no_prefix = open_reference("no-prefix");
  EXPECT_EQ(no_prefix.tensor("model.embed_tokens.weight", shape).bytes.data(),
            no_prefix.tensor("embed_tokens.weight", shape).bytes.data());
  EXPECT_TRUE(no_prefix.has("model.norm.weight"));
}

// 235B-A22B: 36 thousand tensors in 118 shards of sparse data, as large as the real ones.
TEST(ReferenceCheckpoints, TheLargestOpensAtOnce) {
  constexpr int kShards = 118;
  TemporaryFolder folder;
  Json config = Json::parse(R"({"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
    "hidden_size": 4096, "num_hidden_layers": 94, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128,
    "intermediate_size": 12288, "vocab_size": 151936, "max_position_embeddings": 40960, "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 1536,
    "norm_topk_prob": true, "tie_word_embeddings": false})");
  write_file(folder.path("config.json"), config.dump());
  const std::vector<ExpectedTensor> tensors = expected_tensors(ModelConfig::from_json(config));
  ASSERT_GT(tensors.size(), 36000u);

  std::string map;
  const size_t per_shard = (tensors.size() + kShards - 1) / kShards;
  for (int s = 0; s < kShards; ++s) {
    std::string header = "{";
    int64_t offset = 0;
    for (size_t i = static_cast<size_t>(s) * per_shard; i < std::min(tensors.size(), (s + 1) * per_shard); ++i) {
      int64_t bytes = 2;
      for (const int64_t size : tensors[i].shape) bytes *= size;
      header += fmt::format(R"({}"{}":{{"dtype":"BF16","shape":[{}],"data_offsets":[{},{}]}})", offset == 0 ? "" : ",",
                            tensors[i].name, fmt::join(tensors[i].shape, ","), offset, offset + bytes);
      map += fmt::format(R"({}"{}":"{}")", map.empty() ? "" : ",", tensors[i].name, shard_name(s, kShards));
      offset += bytes;
    }
    header += "}";
    const uint64_t length = header.size();
    write_file(folder.path(shard_name(s, kShards)), std::string(reinterpret_cast<const char*>(&length), 8) + header);
    std::error_code error;
    std::filesystem::resize_file(folder.path(shard_name(s, kShards)), 8 + length + static_cast<uint64_t>(offset),
                                 error);
    if (error) GTEST_SKIP() << "no sparse files of " << offset << " bytes here: " << error.message();
  }
  write_file(folder.path("model.safetensors.index.json"), R"({"weight_map":{)" + map + "}}");

  const int64_t before = pages_touched();
  const Checkpoint checkpoint = open_checkpoint(folder);
  const int64_t pages = pages_touched() - before;
  EXPECT_EQ(checkpoint.total_bytes(), 2 * checkpoint.config().num_parameters());
  // Headers and maps only, and what sanitizers keep of them: of the data it reads nothing.
  std::printf("opened %zu tensors, touching %lld pages\n", tensors.size(), static_cast<long long>(pages));
  EXPECT_LT(pages * 4096, checkpoint.total_bytes() / 100);
}

}  // namespace
}  // namespace qwill::test
