// The plan against what is held: on tiny checkpoints the CPU's buffers and weights, to the byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "engine/engine_core.h"
#include "llm/memory_plan.h"
#include "support/random.h"
#include "support/test_paths.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

using test::Random;
using testing::AllOf;
using testing::HasSubstr;
using Bytes = std::map<std::string, int64_t>;

Bytes by_purpose(const std::vector<MemoryPool>& pools) {
  Bytes bytes;
  for (const MemoryPool& pool : pools) bytes[pool.purpose] = pool.bytes;
  return bytes;
}

Error error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  return {ErrorKind::usage, "no error"};
}

LlmOptions of_checkpoint(const std::string& name) {
  LlmOptions options;
  options.model = test::source_path("tests/data/checkpoints/" + name);
  options.device = "cpu";
  options.num_threads = 2;
  options.max_sequences = 3;
  options.max_seq_len = 200;
  options.chunk_size = 256;  // more than one sequence may have: a step takes rows of several prompts
  return options;
}

void answer_requests(EngineCore& engine, int64_t vocab_size) {
  for (uint64_t i = 0; i < 4; ++i) {
    Random random(i + 1);
    Request request;
    for (int64_t length = random.between(120, 150); length > 0; --length)
      request.prompt.push_back(static_cast<int32_t>(random.below(vocab_size)));
    request.sampling.max_tokens = 6;
    if (i > 0) request.sampling.num_prompt_logprobs = 2;
    engine.add(std::move(request));
  }
  while (!engine.idle()) engine.step();
  engine.score(std::vector<int32_t>(150, 1), [](int64_t, const Tensor&) {});
}

TEST(MemoryPlan, IsWhatTheCpuHolds) {
  struct Case {
    const char* checkpoint;
    DTypeChoice dtype;
  };
  for (const auto& [name, dtype] : {Case{"8b", DTypeChoice::automatic}, Case{"moe-30b", DTypeChoice::automatic},
                                    Case{"f32", DTypeChoice::automatic}, Case{"f32", DTypeChoice::bf16},
                                    Case{"f16", DTypeChoice::bf16}, Case{"moe-odd", DTypeChoice::f32}}) {
    SCOPED_TRACE(name);
    LlmOptions options = of_checkpoint(name);
    options.dtype = dtype;
    const MemoryPlan plan = plan_memory(options);

    const Checkpoint checkpoint = Checkpoint::open(ModelFolder::find(options.model, ""));
    const ModelConfig& config = checkpoint.config();
    const Backend backend = open_backend(options);
    const auto model =
        load_model(*backend.ops, config, rope_settings(config), CheckpointTensors(checkpoint), options.dtype);
    EngineCore engine(*backend.ops, *model,
                      {.max_seq_len = plan.max_seq_len,
                       .num_pages = plan.num_pages,
                       .chunk_size = backend.chunk_size,
                       .max_sequences = plan.max_sequences});
    Bytes held = by_purpose(backend.ops->memory());
    EXPECT_EQ(held.at("weight_copies"), backend.ops->owned_weight_bytes());
    EXPECT_EQ(held.at("cache"), plan.num_pages * plan.page_bytes);
    held["weight_files"] = checkpoint.total_bytes();
    held["program"] = by_purpose(plan.pools).at("program");
    EXPECT_EQ(by_purpose(plan.pools), held);

    const Bytes before = by_purpose(backend.ops->memory());
    answer_requests(engine, config.vocab_size);
    EXPECT_EQ(by_purpose(backend.ops->memory()), before) << "work takes no more";
  }
}

TEST(MemoryPlan, PagesAreThoseWantedOrThoseGiven) {
  LlmOptions options = of_checkpoint("8b");
  options.memory_bytes = int64_t{1} << 40;
  const MemoryPlan wanted = plan_memory(options);
  EXPECT_EQ(wanted.num_pages, 3 * 4);  // 200 tokens are four pages
  EXPECT_EQ(wanted.sequences_at_full_length(), 3);
  EXPECT_EQ(wanted.cache_tokens(), 12 * 64);

  options.memory_bytes = wanted.total_bytes();
  EXPECT_EQ(plan_memory(options).num_pages, 12);
  options.memory_bytes -= 1;
  const MemoryPlan given = plan_memory(options);
  EXPECT_EQ(given.num_pages, 11);
  EXPECT_EQ(given.sequences_at_full_length(), 2);
  EXPECT_EQ(given.total_bytes(), wanted.total_bytes() - wanted.page_bytes);
}

// The length that a refusal says would fit.
int64_t length_that_fits(const Error& error) {
  constexpr std::string_view kFlag = "--max-seq-len ";
  const std::string message = error.what();
  const size_t flag = message.find(kFlag);
  EXPECT_NE(flag, std::string::npos) << message;
  return flag == std::string::npos ? 1 : std::stoll(message.substr(flag + kFlag.size()));
}

TEST(MemoryPlan, WhatDoesNotFitIsToldWithNumbers) {
  LlmOptions options = of_checkpoint("8b");
  options.max_seq_len = 1 << 20;
  options.memory_bytes = 250'000'000;
  const Error error = error_of([&] { plan_memory(options); });
  EXPECT_EQ(error.kind(), ErrorKind::invalid);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("1048576 tokens"), HasSubstr("0.25 GB are allowed")));
  options.max_seq_len = length_that_fits(error);
  EXPECT_EQ(plan_memory(options).sequences_at_full_length(), 1);
  options.max_seq_len += 64;
  EXPECT_EQ(error_of([&] { plan_memory(options); }).kind(), ErrorKind::invalid);

  options.memory_bytes = 1'000'000;
  EXPECT_THAT(error_of([&] { plan_memory(options); }).what(), HasSubstr("use a smaller model"));
}

TEST(MemoryPlan, TheWholeContextIsShortenedWhereNobodyAskedForIt) {
  LlmOptions options = of_checkpoint("8b");
  options.max_seq_len = 0;
  options.max_sequences = 1;
  const MemoryPlan whole = plan_memory(options);
  options.memory_bytes = plan_memory(options).total_bytes();
  EXPECT_EQ(plan_memory(options).max_seq_len, whole.max_seq_len);
  options.memory_bytes -= whole.page_bytes;
  const MemoryPlan shorter = plan_memory(options);
  EXPECT_LT(shorter.max_seq_len, whole.max_seq_len);
  EXPECT_GE(shorter.max_seq_len, whole.max_seq_len - 2 * 64);
  EXPECT_EQ(shorter.cache_tokens(), shorter.max_seq_len);
  EXPECT_LE(shorter.total_bytes(), options.memory_bytes);
  options.max_seq_len = whole.max_seq_len;
  EXPECT_THAT(error_of([&] { plan_memory(options); }).what(), HasSubstr("--max-seq-len"));
}

TEST(MemoryPlan, DefaultsAreThoseOfTheDevice) {
  LlmOptions options = of_checkpoint("8b");
  options.max_sequences = options.max_seq_len = 0;
  const MemoryPlan plan = plan_memory(options);
  EXPECT_EQ(plan.max_sequences, 8);
  EXPECT_EQ(plan.max_seq_len, Checkpoint::open(ModelFolder::find(options.model, "")).config().context_len());
}

TEST(MemoryPlan, KnowsWhatTheCacheIsMadeOf) {
  LlmOptions options = of_checkpoint("8b");
  const auto page_bytes = [&](KvDTypeChoice kv_dtype) {
    options.kv_dtype = kv_dtype;
    return plan_memory(options).page_bytes;
  };
  EXPECT_EQ(plan_memory(options).kv_dtype, DType::f16);
  const int64_t f32 = page_bytes(KvDTypeChoice::f32);
  EXPECT_EQ(page_bytes(KvDTypeChoice::automatic), f32 / 2);
  EXPECT_EQ(page_bytes(KvDTypeChoice::bf16), f32 / 2);
  const ModelConfig config = Checkpoint::open(ModelFolder::find(options.model, "")).config();
  const int64_t dims = (config.head_dim + 31) / 32 * 32;  // a scale of two bytes for each 32
  EXPECT_EQ(page_bytes(KvDTypeChoice::int8), 64 * config.num_layers * config.num_kv_heads * 2 * (dims + dims / 32 * 2));
  options.kv_dtype = KvDTypeChoice::automatic;
  options.dtype = DTypeChoice::f32;
  EXPECT_EQ(plan_memory(options).kv_dtype, DType::f32);
}

// No card is needed: its layout is counted all the same.
TEST(MemoryPlan, OfACardThatIsNotHere) {
  if (!cuda_built()) GTEST_SKIP() << "built without CUDA";
  LlmOptions options;
  options.model = "random:8b";
  options.device = "cuda";
  options.max_sequences = 0;
  for (const DTypeChoice dtype : {DTypeChoice::automatic, DTypeChoice::int4, DTypeChoice::fp8}) {
    options.dtype = dtype;
    options.memory_bytes = 80'000'000'000;
    const MemoryPlan plan = plan_memory(options);
    EXPECT_EQ(plan.max_sequences, 1024);
    EXPECT_EQ(plan.kv_dtype, DType::bf16);
    EXPECT_EQ(plan.page_bytes, 64 * 2 * 36 * 8 * 128 * 2);
    EXPECT_LE(plan.total_bytes(), plan.memory_bytes);
    EXPECT_GT(plan.total_bytes() + 2 * plan.page_bytes, plan.memory_bytes) << "and leaves nothing unused";
    const int64_t weights = by_purpose(plan.pools).at("weights");
    EXPECT_NEAR(static_cast<double>(weights),
                dtype == DTypeChoice::automatic ? 16.4e9
                : dtype == DTypeChoice::fp8     ? 9.4e9
                                                : 6.1e9,
                0.2e9);
  }
  options.dtype = DTypeChoice::automatic;
  const MemoryPlan in_bf16 = plan_memory(options);
  options.kv_dtype = KvDTypeChoice::fp8;
  const MemoryPlan in_fp8 = plan_memory(options);
  EXPECT_EQ(in_fp8.kv_dtype, DType::f8_e4m3);
  EXPECT_EQ(in_fp8.page_bytes, in_bf16.page_bytes / 2);
  EXPECT_NEAR(static_cast<double>(in_fp8.num_pages) / static_cast<double>(in_bf16.num_pages), 2, 0.01);
  options.kv_dtype = KvDTypeChoice::automatic;
  options.memory_bytes = 20'000'000'000;
  options.max_seq_len = 1 << 20;
  const Error error = error_of([&] { plan_memory(options); });
  EXPECT_EQ(error.kind(), ErrorKind::device);
  options.max_seq_len = length_that_fits(error);
  EXPECT_EQ(plan_memory(options).sequences_at_full_length(), 1);
}

}  // namespace
}  // namespace qwill
