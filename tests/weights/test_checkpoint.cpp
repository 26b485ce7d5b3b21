#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

TEST(Checkpoint, OpensSingleFiles) {
  for (const Json& config : {tiny_dense_config(), tiny_moe_config()}) {
    for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
      TemporaryFolder folder;
      write_single(folder, config, dtype);
      const Checkpoint checkpoint = open_checkpoint(folder);
      EXPECT_EQ(checkpoint.files().size(), 1u);
      EXPECT_EQ(checkpoint.total_bytes(), checkpoint.config().num_parameters() * dtype_bytes(dtype));
      EXPECT_EQ(checkpoint.generation_config().top_k, 20);
      for (const OwnedTensor& tensor : tiny_tensors(config, dtype)) {
        const StoredTensor& stored = checkpoint.tensor(tensor.name, tensor.shape);
        EXPECT_EQ(stored.dtype, dtype);
        EXPECT_TRUE(std::ranges::equal(stored.bytes, tensor.bytes)) << tensor.name;
      }
    }
  }
}

TEST(Checkpoint, OpensShards) {
  TemporaryFolder folder;
  write_sharded(folder, tiny_moe_config(), 3);
  Checkpoint opened = open_checkpoint(folder);
  const Checkpoint checkpoint = std::move(opened);  // look-ups must survive a move
  EXPECT_EQ(checkpoint.files().size(), 3u);
  for (const OwnedTensor& tensor : tiny_tensors(tiny_moe_config(), DType::bf16))
    EXPECT_TRUE(std::ranges::equal(checkpoint.tensor(tensor.name, tensor.shape).bytes, tensor.bytes)) << tensor.name;
  EXPECT_TRUE(checkpoint.has("model.norm.weight"));
  EXPECT_FALSE(checkpoint.has("lm_head.weight"));
}

TEST(Checkpoint, TakesAnotherDtypeForEachTensor) {
  TemporaryFolder folder;
  write_single(folder, tiny_dense_config());
  auto tensors = tiny_tensors(tiny_dense_config(), DType::bf16);
  constexpr DType kDTypes[] = {DType::bf16, DType::f16, DType::f32};
  for (size_t i = 0; i < tensors.size(); ++i)
    tensors[i] = make_tensor(tensors[i].name, kDTypes[i % 3], tensors[i].shape);
  write_tensors(folder.path("model.safetensors"), tensors);
  EXPECT_EQ(open_error(folder), "");
}

TEST(Checkpoint, ReadsDataThatIsNotAligned) {
  TemporaryFolder folder;
  write_single(folder, tiny_dense_config(), DType::f32);
  // One more space of padding moves all data by one byte.
  std::string bytes = read_file(folder.path("model.safetensors"));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  bytes.insert(8 + length, " ");
  ++length;
  std::memcpy(bytes.data(), &length, 8);
  write_file(folder.path("model.safetensors"), bytes);
  const Checkpoint checkpoint = open_checkpoint(folder);
  const int64_t shape[] = {16};
  const StoredTensor& norm = checkpoint.tensor("model.norm.weight", shape);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(norm.bytes.data()) % 2, 1u);
  EXPECT_EQ(norm.bytes[1], std::byte{1});
}

TEST(Checkpoint, IgnoresTheStoredHeadOfATiedModel) {
  TemporaryFolder folder;
  write_single(folder, tiny_moe_config());
  auto tensors = tiny_tensors(tiny_moe_config(), DType::bf16);
  tensors.push_back(make_tensor("lm_head.weight", DType::i8, {3}));  // whatever it is
  write_tensors(folder.path("model.safetensors"), tensors);
  EXPECT_EQ(open_error(folder), "");
  for (const ExpectedTensor& expected : expected_tensors(open_checkpoint(folder).config()))
    EXPECT_NE(expected.name, "lm_head.weight");
}

TEST(Checkpoint, AnUntiedModelNeedsItsHead) {
  TemporaryFolder folder;
  write_single(folder, tiny_dense_config());
  auto tensors = tiny_tensors(tiny_dense_config(), DType::bf16);
  ASSERT_EQ(tensors.back().name, "lm_head.weight");
  tensors.pop_back();
  write_tensors(folder.path("model.safetensors"), tensors);
  EXPECT_THAT(open_error(folder),
              HasSubstr("model.safetensors: lm_head.weight: missing, and config.json does not tie"));
}

TEST(Checkpoint, NamesWhatIsWrongWithATensor) {
  TemporaryFolder folder;
  write_single(folder, tiny_dense_config());
  const auto good = tiny_tensors(tiny_dense_config(), DType::bf16);
  for (size_t i = 0; i < good.size(); ++i) {
    auto tensors = good;
    tensors.erase(tensors.begin() + static_cast<ptrdiff_t>(i));
    write_tensors(folder.path("model.safetensors"), tensors);
    EXPECT_THAT(open_error(folder), HasSubstr("model.safetensors: " + good[i].name + ": missing")) << i;

    tensors = good;
    tensors[i] = make_tensor(good[i].name, DType::i16, good[i].shape);
    write_tensors(folder.path("model.safetensors"), tensors);
    EXPECT_THAT(open_error(folder),
                EndsWith(good[i].name + ": dtype I16 is not supported, only BF16, F16 and F32 are"));

    std::vector<int64_t> shape = good[i].shape;
    shape.back() += 1;
    tensors[i] = make_tensor(good[i].name, DType::bf16, shape);
    write_tensors(folder.path("model.safetensors"), tensors);
    EXPECT_THAT(open_error(folder), HasSubstr(good[i].name + ": expected ["));

    shape.insert(shape.begin(), 1);
    shape.back() -= 1;
    tensors[i] = make_tensor(good[i].name, DType::bf16, shape);
    write_tensors(folder.path("model.safetensors"), tensors);
    EXPECT_THAT(open_error(folder), HasSubstr(good[i].name + ": expected [")) << "one more axis";
  }
}

TEST(Checkpoint, SaysThatStackedExpertsAreUnsupported) {
  TemporaryFolder folder;
  write_single(folder, tiny_moe_config());
  auto tensors = tiny_tensors(tiny_moe_config(), DType::bf16);
  std::erase_if(tensors, [](const OwnedTensor& t) { return t.name.find(".experts.") != std::string::npos; });
  tensors.push_back(make_tensor("model.layers.1.mlp.experts.gate_up_proj", DType::bf16, {3, 12, 16}));
  tensors.push_back(make_tensor("model.layers.1.mlp.experts.down_proj", DType::bf16, {3, 16, 6}));
  write_tensors(folder.path("model.safetensors"), tensors);
  EXPECT_THAT(open_error(folder), HasSubstr("experts stored as one tensor are not supported"));
}

TEST(Checkpoint, ExpectsTensorsInTheOrderOfUse) {
  std::vector<std::string> names;
  for (const ExpectedTensor& tensor : expected_tensors(ModelConfig::from_json(tiny_moe_config())))
    names.push_back(tensor.name);
  const std::vector<std::string> first = {
      "model.embed_tokens.weight",
      "model.layers.0.input_layernorm.weight",
      "model.layers.0.self_attn.q_proj.weight",
      "model.layers.0.self_attn.k_proj.weight",
      "model.layers.0.self_attn.v_proj.weight",
      "model.layers.0.self_attn.q_norm.weight",
      "model.layers.0.self_attn.k_norm.weight",
      "model.layers.0.self_attn.o_proj.weight",
      "model.layers.0.post_attention_layernorm.weight",
      "model.layers.0.mlp.gate_proj.weight",
      "model.layers.0.mlp.up_proj.weight",
      "model.layers.0.mlp.down_proj.weight",
      "model.layers.1.input_layernorm.weight",
  };
  ASSERT_GT(names.size(), first.size());
  EXPECT_EQ(std::vector<std::string>(names.begin(), names.begin() + static_cast<ptrdiff_t>(first.size())), first);
  EXPECT_THAT(names, testing::Contains("model.layers.1.mlp.gate.weight"));
  EXPECT_THAT(names, testing::Contains("model.layers.1.mlp.experts.2.down_proj.weight"));
  EXPECT_EQ(names.back(), "model.norm.weight");
}

// The published shapes give the published numbers of parameters (model cards: total, and active per token).
TEST(Checkpoint, PublishedSizes) {
  const struct {
    const char* name;
    double total, active;
  } cases[] = {{"0.6B", 0.596e9, 0.596e9},     {"1.7b", 1.721e9, 1.721e9},        {"4b", 4.022e9, 4.022e9},
               {"8b", 8.191e9, 8.191e9},       {"14b", 14.768e9, 14.768e9},       {"32b", 32.762e9, 32.762e9},
               {"30b-a3b", 30.532e9, 3.345e9}, {"235b-a22b", 235.094e9, 22.145e9}};
  EXPECT_EQ(std::size(cases), published_sizes().size());
  for (const auto& c : cases) {
    const ModelConfig config = published_config(c.name);
    EXPECT_NEAR(static_cast<double>(config.num_parameters()), c.total, 0.001 * c.total) << c.name;
    EXPECT_NEAR(static_cast<double>(config.num_active_parameters()), c.active, 0.01 * c.active) << c.name;
    int64_t sum = 0;
    for_each_expected_tensor(config, [&](const ExpectedTensor& tensor) {
      int64_t elements = 1;
      for (const int64_t size : tensor.shape) elements *= size;
      sum += elements;
    });
    EXPECT_EQ(sum, config.num_parameters()) << c.name;
  }
  EXPECT_EQ(published_config("8b").kv_elements_per_token(), 2 * 36 * 8 * 128);
  EXPECT_THROW(published_config("9b"), Error);
}

}  // namespace
}  // namespace qwill::test
