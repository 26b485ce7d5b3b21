// What the card itself says is used, against the plan. Nobody else may use the card meanwhile: ctest runs it alone.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>

#include "cuda/cuda_ops.h"
#include "engine/engine_core.h"
#include "llm/memory_plan.h"
#include "support/random.h"
#include "support/test_paths.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

struct Subject {
  const char* name;
  const char* model;  // a built-in one, or a published size
  DTypeChoice dtype;
  int64_t max_seq_len = 2048, max_sequences = 16;
};
constexpr Subject kSubjects[] = {
    {"nib_bf16", "nib", DTypeChoice::automatic},
    {"nib_fp8", "nib", DTypeChoice::fp8},
    {"nib_int4", "nib", DTypeChoice::int4},
    {"nib_moe_bf16", "nib-moe", DTypeChoice::automatic},
    {"size_0_6b_bf16", "0.6b", DTypeChoice::bf16},
    {"size_0_6b_bf16_8k", "0.6b", DTypeChoice::bf16, 8192},
    {"size_0_6b_fp8", "0.6b", DTypeChoice::fp8},
    {"size_0_6b_int4", "0.6b", DTypeChoice::int4},
    {"size_8b_bf16", "8b", DTypeChoice::bf16, 2048, 1024},
    {"size_30b_a3b_int4", "30b-a3b", DTypeChoice::int4, 2048, 256},
};

// A model's tensors, from a file or made on the card.
struct Source {
  explicit Source(std::string_view name) {
    if (!name.starts_with("nib")) {
      config = published_config(name);
      tensors = std::make_unique<RandomValues>(config);
      return;
    }
    checkpoint = Checkpoint::open(ModelFolder::find(test::source_path("models/" + std::string(name)), ""));
    config = checkpoint->config();
    tensors = std::make_unique<CheckpointTensors>(*checkpoint);
  }
  std::optional<Checkpoint> checkpoint;
  ModelConfig config;
  std::unique_ptr<TensorSource> tensors;
};

// Steps of many sizes and lengths: of each new one a recording is made.
void work(EngineCore& engine, int64_t vocab_size, int64_t max_prompt) {
  test::Random random(1);
  for (int i = 0; i < 24; ++i) {
    Request request;
    for (int64_t length = random.between(1, max_prompt * (i + 1) / 24); length > 0; --length)
      request.prompt.push_back(static_cast<int32_t>(random.below(vocab_size)));
    request.sampling.max_tokens = 40;
    request.sampling.temperature = i % 2;
    if (i % 3 == 0) request.sampling.top_p = 0.9;
    if (i % 4 == 0) request.sampling.repetition_penalty = 1.1;
    if (i % 5 == 0) request.sampling.num_prompt_logprobs = 2;
    engine.add(std::move(request));
  }
  while (!engine.idle()) engine.step();
}

class CardMemory : public testing::TestWithParam<Subject> {};

TEST_P(CardMemory, UsedIsWhatWasPlanned) {
  if (!cuda_available()) GTEST_SKIP() << "this machine lacks cuda";
  LlmOptions options;
  options.dtype = GetParam().dtype;
  options.max_seq_len = GetParam().max_seq_len;
  DeviceChoice device;
  device.on_cuda = true;
  device.card = cuda_card(device.cuda);
  if (options.dtype == DTypeChoice::fp8 && !device.card.hopper) GTEST_SKIP() << "this card has no e4m3";
  device.chunk_size = 1024;
  device.max_sequences = GetParam().max_sequences;
  const Source source(GetParam().model);
  const int64_t free_before = cuda_free_bytes(device.cuda);
  const MemoryPlan plan = plan_memory(options, device, {source.config, *source.tensors, 0});
  int64_t allowance = 0;
  for (const MemoryPool& pool : plan.pools)
    if (pool.purpose == "driver") allowance = pool.bytes;
  const int64_t planned = plan.total_bytes() - allowance;

  const auto beyond_plan = [&] { return free_before - cuda_free_bytes(device.cuda) - planned; };
  {
    const auto ops = make_cuda_ops(device.cuda);
    const auto model = load_model(*ops, source.config, rope_settings(source.config), *source.tensors, options.dtype);
    EngineCore engine(*ops, *model,
                      {.max_seq_len = plan.max_seq_len,
                       .num_pages = plan.num_pages,
                       .chunk_size = device.chunk_size,
                       .max_sequences = plan.max_sequences});
    const int64_t ready = beyond_plan(), allocations = cuda_device_allocations();
    work(engine, source.config.vocab_size, plan.max_seq_len - 100);
    const int64_t worked = beyond_plan();
    std::fputs(fmt::format("{:<17} planned {:>13} B; beyond it once ready {:>11} B, after work {:>11} B\n",
                           GetParam().name, planned, ready, worked)
                   .c_str(),
               stdout);
    EXPECT_EQ(cuda_device_allocations(), allocations);
    EXPECT_GE(ready, 0);
    EXPECT_GE(worked, ready);
    // Kernels, recorded steps and what the driver rounds up; some kernels are loaded by their first use.
    EXPECT_LE(worked, allowance);
  }
  EXPECT_LE(beyond_plan() + planned, allowance) << "what was taken is given back";
}

INSTANTIATE_TEST_SUITE_P(Cuda, CardMemory, testing::ValuesIn(kSubjects),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace qwill
