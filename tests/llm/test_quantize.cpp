// Models quantised ahead of time: the same logits as while loading, mapped where they lie; what is refused.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "cpu/cpu_ops.h"
#include "engine/engine_core.h"
#include "llm/quantize.h"
#include "model/model.h"
#include "support/backends.h"
#include "support/test_paths.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

namespace fs = std::filesystem;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// Dense and of experts, head tied and not, in one file and in several; nib's matrices fill whole panels, others do not.
std::vector<std::string> models() {
  std::vector<std::string> paths = {source_path("models/nib"), source_path("models/nib-moe")};
  for (const auto& entry : fs::directory_iterator(source_path("tests/data/checkpoints")))
    paths.push_back(entry.path().string());
  return paths;
}

ModelFolder folder_of(const std::string& path) { return ModelFolder::find(path, ""); }

struct Scores {
  std::vector<float> logits = {};
  int64_t owned_weight_bytes = 0;
};
Scores score(const std::string& path, DTypeChoice dtype, int num_threads = 2) {
  const Checkpoint checkpoint = Checkpoint::open(folder_of(path));
  const auto ops = make_cpu_ops({.num_threads = num_threads});
  const CheckpointTensors tensors(checkpoint);
  const auto model = load_model(*ops, checkpoint.config(), rope_settings(checkpoint.config()), tensors, dtype);
  EngineCore engine(*ops, *model, {.max_seq_len = 64, .kv_dtype = ops->kv_dtype()});
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 40; ++i) ids.push_back(static_cast<int32_t>((i * 7 + 3) % checkpoint.config().vocab_size));
  Scores scores{.owned_weight_bytes = ops->owned_weight_bytes()};
  engine.score(ids, [&](int64_t, const Tensor& logits) {
    const auto* row = logits.row<const float>(0);
    scores.logits.insert(scores.logits.end(), row, row + logits.rows * logits.cols);
  });
  return scores;
}

TEST(Quantize, AheadIsTheSameAsWhileLoading) {
  for (const std::string& path : models()) {
    for (const DTypeChoice dtype : {DTypeChoice::int8, DTypeChoice::int4}) {
      TemporaryFolder folder;
      ASSERT_TRUE(quantize_model(folder_of(path), folder.path("q"), {.dtype = dtype, .num_threads = 2}));
      const Scores loading = score(path, dtype), ahead = score(folder.path("q"), DTypeChoice::automatic);
      ASSERT_EQ(loading.logits.size(), ahead.logits.size()) << path;
      EXPECT_EQ(std::memcmp(loading.logits.data(), ahead.logits.data(), loading.logits.size() * sizeof(float)), 0)
          << path;
      // Of mapped panels nothing is copied: norms alone, and a router that is to be multiplied in f32.
      const ModelConfig config = Checkpoint::open(folder_of(path)).config();
      int64_t norms = 0;
      for (const ExpectedTensor& tensor : expected_tensors(config))
        if (tensor.shape.size() == 1) norms += 4 * tensor.num_elements();
      EXPECT_EQ(ahead.owned_weight_bytes, norms) << path;
      EXPECT_GT(loading.owned_weight_bytes, norms) << path;
    }
  }
}

TEST(Quantize, TheSameBytesWhateverMakesThem) {
  TemporaryFolder folder;
  const ModelFolder nib = folder_of(source_path("models/nib"));
  ASSERT_TRUE(quantize_model(nib, folder.path("one"), {.num_threads = 1}));
  for (const std::string& path : cpu_paths()) {
    if (!machine_has(path)) continue;
    ASSERT_TRUE(quantize_model(nib, folder.path(path + "/"), {.num_threads = 3, .cpu_path = path}));
    for (const char* file : {"/model.safetensors", "/config.json"})
      EXPECT_EQ(read_file(folder.path("one") + file), read_file(folder.path(path) + file)) << path;
  }
  for (const char* file : {"generation_config.json", "tokenizer.json", "tokenizer_config.json"})
    EXPECT_EQ(read_file(folder.path(std::string("one/") + file)), read_file(nib.name_of(file)));
}

TEST(Quantize, LargeModelsComeInSeveralFiles) {
  TemporaryFolder folder;
  const std::string nib = source_path("models/nib");
  ASSERT_TRUE(quantize_model(folder_of(nib), folder.path("q"), {.num_threads = 2, .max_file_bytes = 600'000}));
  EXPECT_TRUE(fs::exists(folder.path("q/model.safetensors.index.json")));
  EXPECT_GT(Checkpoint::open(folder_of(folder.path("q"))).files().size(), 3u);
  EXPECT_EQ(score(folder.path("q"), DTypeChoice::automatic).logits, score(nib, DTypeChoice::int4).logits);
}

TEST(Quantize, PanelsBeginWhereVectorsLikeThem) {
  TemporaryFolder folder;
  ASSERT_TRUE(quantize_model(folder_of(source_path("models/nib-moe")), folder.path("q"), {.num_threads = 2}));
  const Checkpoint checkpoint = Checkpoint::open(folder_of(folder.path("q")));
  EXPECT_EQ(checkpoint.panels(), "panels of int6");
  EXPECT_EQ(Checkpoint::open(folder_of(source_path("models/nib-moe"))).panels(), "");
  int panels = 0;
  for (const auto& [name, tensor] : checkpoint.files()[0].tensors()) {
    if (tensor.format == BlockFormat::none) continue;
    ++panels;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % 64, 0u) << name;
  }
  EXPECT_EQ(panels, 1 + 2 * (4 + 3 * 4));  // the tied head, and of each layer four of attention and its experts'
}

// Changes config.json of a folder.
void edit_config(const std::string& path, const std::function<void(Json& quantization)>& edit) {
  Json config = Json::parse(read_file(path));
  Json quantization = *config.find("quantization_config");
  edit(quantization);
  write_file(path, config.set("quantization_config", std::move(quantization)).dump());
}

// What int4 keeps in six bits: the head, keys, values and the last MLP, and beside experts attention's output.
TEST(Quantize, SixBitsWhereItMatters) {
  for (const bool moe : {false, true}) {
    TemporaryFolder folder;
    const std::string model = source_path(moe ? "models/nib-moe" : "models/nib");
    ASSERT_TRUE(quantize_model(folder_of(model), folder.path("q"), {.num_threads = 2}));
    const Checkpoint checkpoint = Checkpoint::open(folder_of(folder.path("q")));
    EXPECT_NE(read_file(folder.path("q/config.json")).find("\"format\": 2"), std::string::npos);
    const std::string last = fmt::format("layers.{}.mlp.", checkpoint.config().num_layers - 1);
    int six = 0, four = 0;
    for (const auto& [name, tensor] : checkpoint.files()[0].tensors()) {
      if (tensor.format == BlockFormat::none) continue;
      const auto holds = [&](std::string_view part) { return name.find(part) != std::string::npos; };
      const bool wanted =
          holds("embed_tokens") || holds("k_proj") || holds("v_proj") || holds(last) || (moe && holds("o_proj"));
      EXPECT_EQ(tensor.format, wanted ? BlockFormat::panels_int6 : BlockFormat::panels_int4) << name;
      (wanted ? six : four) += 1;
    }
    EXPECT_GT(six, 0);
    EXPECT_GT(four, 0);
  }
}

// Folders of format 1, which had int8 where int6 is now, are read as they are.
TEST(Quantize, FoldersOfTheFirstFormat) {
  TemporaryFolder folder;
  const std::string nib = source_path("models/nib");
  ASSERT_TRUE(quantize_model(folder_of(nib), folder.path("q"), {.dtype = DTypeChoice::int8, .num_threads = 2}));
  const Scores before = score(folder.path("q"), DTypeChoice::automatic);
  edit_config(folder.path("q/config.json"), [](Json& q) { q.set("format", 1).set("dtype", "int4"); });
  EXPECT_EQ(score(folder.path("q"), DTypeChoice::automatic).logits, before.logits);
  for (const int64_t format : {0, 3}) {
    edit_config(folder.path("q/config.json"), [&](Json& q) { q.set("format", format); });
    EXPECT_THAT(error_of([&] { Checkpoint::open(folder_of(folder.path("q"))); }),
                HasSubstr("is not what this version reads (1 to 2): quantise the original again"));
  }
}

// What folders with `q` and nothing else in them would show.
std::vector<std::string> names_in(const TemporaryFolder& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.path())) names.push_back(entry.path().filename());
  return names;
}

TEST(Quantize, WhatIsRefused) {
  TemporaryFolder folder;
  const std::string nib = source_path("models/nib");
  const auto error_from = [&](const std::string& model, const std::string& out) {
    return error_of([&] { quantize_model(folder_of(model), out, {.num_threads = 1}); });
  };
  ASSERT_TRUE(quantize_model(folder_of(nib), folder.path("q"), {.dtype = DTypeChoice::int8, .num_threads = 2}));
  EXPECT_THAT(error_from(folder.path("q"), folder.path("r")), HasSubstr("/q: is quantised already"));
  EXPECT_THAT(error_from(nib, folder.path("q")), HasSubstr("/q: is there already"));
  write_file(folder.path("file"), "");
  EXPECT_THAT(error_from(nib, folder.path("file")), HasSubstr("/file: is there already"));
  EXPECT_THAT(error_from(nib, folder.path("none/q")),
              EndsWith("none/q: cannot make a folder: No such file or directory"));
  write_file(folder.path("x.gguf"), "GGUF");
  EXPECT_THAT(error_from(folder.path("x.gguf"), folder.path("r")), HasSubstr("x.gguf: GGUF files are not quantised"));
  EXPECT_THAT(names_in(folder), testing::UnorderedElementsAre("q", "file", "x.gguf"));
}

TEST(Quantize, CancelledLeavesNothing) {
  TemporaryFolder folder;
  std::atomic<bool> cancel = false;
  int calls = 0;
  const QuantizeOptions options{.num_threads = 1,
                                .progress =
                                    [&](int64_t done, int64_t total) {
                                      EXPECT_LE(done, total);
                                      EXPECT_FALSE(cancel);
                                      if (++calls == 3) cancel = true;
                                    },
                                .cancel = &cancel};
  EXPECT_FALSE(quantize_model(folder_of(source_path("models/nib")), folder.path("q"), options));
  EXPECT_EQ(calls, 3);
  EXPECT_TRUE(names_in(folder).empty());
}

TEST(Quantize, DamagedFolders) {
  TemporaryFolder folder;
  ASSERT_TRUE(quantize_model(folder_of(source_path("models/nib")), folder.path("q"), {.num_threads = 2}));
  const auto open_error = [&] { return error_of([&] { Checkpoint::open(folder_of(folder.path("q"))); }); };
  EXPECT_EQ(open_error(), "");
  const std::string config = read_file(folder.path("q/config.json")),
                    weights = read_file(folder.path("q/model.safetensors"));

  edit_config(folder.path("q/config.json"), [](Json& q) { q.set("format", 999); });
  EXPECT_THAT(open_error(),
              HasSubstr("q/config.json: quantization_config: format: 999 is not what this version reads"));
  edit_config(folder.path("q/config.json"), [](Json& q) { q.set("format", "x"); });
  EXPECT_THAT(open_error(), HasSubstr("q/config.json: quantization_config: format: expected an integer"));
  edit_config(folder.path("q/config.json"), [](Json& q) { q.set("quant_method", "gptq"); });
  EXPECT_THAT(open_error(), HasSubstr("checkpoints that others quantised (here: gptq) are not supported"));
  Json other = Json::parse(config);
  write_file(folder.path("q/config.json"), other.set("quantization_config", Json()).dump());
  EXPECT_THAT(open_error(), HasSubstr("expected ["));  // panels where numbers should be
  other = Json::parse(config);
  write_file(folder.path("q/config.json"), other.set("intermediate_size", 256).dump());
  EXPECT_THAT(open_error(), HasSubstr("_proj.weight: expected panels of [256, 256], U8 [8, "));
  write_file(folder.path("q/config.json"), config);

  for (size_t size = 0; size < weights.size(); size += weights.size() / 40) {
    write_file(folder.path("q/model.safetensors"), weights.substr(0, size));
    EXPECT_THAT(open_error(), HasSubstr("q/model.safetensors: ")) << size;
  }
  const auto bend = [&](const std::string& name, const std::string& shape, const std::string& other) {
    const std::string entry = fmt::format("\"{}\":{{\"dtype\":\"U8\",\"shape\":{}", name, shape);
    const size_t at = weights.find(entry);
    ASSERT_NE(at, std::string::npos);
    std::string bent = weights;
    bent.replace(at + entry.size() - shape.size(), shape.size(), other);
    write_file(folder.path("q/model.safetensors"), bent);
  };
  // A matrix that is bytes of another shape.
  bend("model.layers.0.mlp.up_proj.weight", "[16,4608]", "[4608,16]");
  EXPECT_THAT(open_error(),
              HasSubstr("up_proj.weight: expected panels of [512, 256], U8 [16, 8704] for int8, [16, 6656] "
                        "for int6 or [16, 4608] for int4, found [4608, 16]"));
  // Six bits are cut short, or are taken for eight.
  bend("model.embed_tokens.weight", "[80,6656]", "[80,8704]");
  EXPECT_THAT(open_error(), HasSubstr("model.embed_tokens.weight"));
}

}  // namespace
}  // namespace qwill::test
