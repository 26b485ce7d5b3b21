// What the CUDA backend promises beyond the op set: no allocation once ready, recorded steps that give what launched
// ones give, both kinds of kernels alike, and failures that are told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "base/error.h"
#include "cuda/cuda_ops.h"
#include "engine/engine_core.h"
#include "llm/memory_plan.h"
#include "support/backends.h"
#include "support/random.h"
#include "support/test_paths.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

using test::Random;
using testing::HasSubstr;

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Cuda, WithoutACardOneLineSaysWhy) {
  if (test::machine_has("cuda")) GTEST_SKIP() << "this machine has a card";
  EXPECT_THAT(error_of([] { make_cuda_ops({}); }), HasSubstr("--device cpu"));
}

class CudaTest : public test::BackendTest {};

TEST_P(CudaTest, ACardThatDoesNotExistIsTold) {
  EXPECT_THAT(error_of([] { make_cuda_ops({.device = 99}); }), HasSubstr("cuda:99 does not exist"));
}

TEST_P(CudaTest, WhatDoesNotFitIsToldWithNumbers) {
  const auto ops = test::make_backend(GetParam());
  const std::string message = error_of([&] {
    ops->allocate_kv(
        {.num_layers = 64, .num_kv_heads = 8, .head_dim = 128, .num_pages = 1 << 20, .dtype = DType::bf16});
  });
  EXPECT_THAT(message, HasSubstr("out of memory"));
  EXPECT_THAT(message, HasSubstr("are free"));
  // And the card works on.
  PagedKv kv = ops->allocate_kv({.num_layers = 1, .num_kv_heads = 1, .head_dim = 64, .num_pages = 1});
  ops->free_kv(kv);
}

struct Loaded {
  Loaded(const std::string& backend, const std::string& name, DTypeChoice dtype = DTypeChoice::automatic)
      : checkpoint(Checkpoint::open(ModelFolder::find(test::source_path("models/" + name), ""))),
        ops(test::make_backend(backend)),
        model(load_model(*ops, checkpoint.config(), rope_settings(checkpoint.config()), CheckpointTensors(checkpoint),
                         dtype)) {}
  Checkpoint checkpoint;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Model> model;
};

struct Subject {
  const char* name;
  DTypeChoice dtype;
  std::optional<DType> cache = {};
};
constexpr Subject kSubjects[] = {{"nib", DTypeChoice::automatic},
                                 {"nib-moe", DTypeChoice::automatic},
                                 {"nib", DTypeChoice::int4},
                                 {"nib-moe", DTypeChoice::int4},
                                 {"nib", DTypeChoice::fp8},
                                 {"nib-moe", DTypeChoice::fp8},
                                 {"nib", DTypeChoice::automatic, DType::f8_e4m3},
                                 {"nib-moe", DTypeChoice::int4, DType::f8_e4m3},
                                 {"nib", DTypeChoice::fp8, DType::f8_e4m3}};

// Requests of many lengths that come and go; the answers by request.
std::vector<std::vector<int32_t>> answers(EngineCore& engine, int64_t vocab_size, int64_t num_requests,
                                          int64_t at_once) {
  std::vector<std::vector<int32_t>> all(static_cast<size_t>(num_requests));
  std::map<int64_t, size_t> request_of;
  size_t next = 0;
  while (next < all.size() || !engine.idle()) {
    while (next < all.size() && static_cast<int64_t>(request_of.size()) < at_once) {
      Random random(next + 1);
      Request request;
      for (int64_t i = random.between(1, 150); i > 0; --i)
        request.prompt.push_back(static_cast<int32_t>(random.below(vocab_size)));
      request.sampling.max_tokens = random.between(1, 40);
      request.sampling.temperature = next % 2 == 0 ? 0 : 0.8;
      request.sampling.seed = next;
      if (next % 3 == 1) request.sampling.presence_penalty = 0.7;
      if (next % 5 == 1) request.sampling.repetition_penalty = 1.2;
      if (next % 4 == 1)
        for (int i = 0; i < 60; ++i)
          request.sampling.stop_ids.push_back(static_cast<int32_t>(random.below(vocab_size)));
      request_of[engine.add(std::move(request))] = next;
      ++next;
    }
    for (const TokenEvent& event : engine.step()) {
      const size_t request = request_of.at(event.sequence);
      if (event.draw) all[request].push_back(event.draw->id);
      if (event.finish) request_of.erase(event.sequence);
    }
  }
  return all;
}

TEST_P(CudaTest, NothingIsAllocatedOnceTheEngineIsReady) {
  for (const auto& [name, dtype, cache] : kSubjects) {
    if (dtype == DTypeChoice::fp8 && !test::has_fp8(GetParam())) continue;
    const Loaded on(GetParam(), name, dtype);
    EngineCore engine(*on.ops, *on.model,
                      {.max_seq_len = 512, .num_pages = 64, .chunk_size = 128, .max_sequences = 8, .kv_dtype = cache});
    const int64_t before = cuda_device_allocations();
    answers(engine, on.checkpoint.config().vocab_size, 40, 8);
    EXPECT_EQ(cuda_device_allocations(), before) << name;
  }
}

// The plan rehearses without a card what the engine then does on one: they agree to the byte, also once it has worked.
TEST_P(CudaTest, WhatIsHeldIsWhatWasPlanned) {
  for (const auto& [name, dtype, cache] : kSubjects) {
    if (dtype == DTypeChoice::fp8 && !test::has_fp8(GetParam())) continue;
    SCOPED_TRACE(name);
    const int64_t held_before = cuda_device_bytes();
    const Loaded on(GetParam(), name, dtype);
    const int64_t held_loaded = cuda_device_bytes();
    LlmOptions options;
    options.dtype = dtype;
    if (cache) options.kv_dtype = KvDTypeChoice::fp8;
    options.max_seq_len = 512;
    options.memory_bytes = int64_t{2} << 30;
    DeviceChoice device;
    device.on_cuda = true;
    device.cuda = {.portable = GetParam() == "cuda-portable", .step_kernel = GetParam() != "cuda-apart"};
    device.chunk_size = 128;
    device.max_sequences = 8;
    device.card = cuda_card(device.cuda);
    const ModelConfig& config = on.checkpoint.config();
    const MemoryPlan plan =
        plan_memory(options, device, {config, CheckpointTensors(on.checkpoint), on.checkpoint.total_bytes()});
    EXPECT_EQ(cuda_device_bytes(), held_loaded) << "a plan takes no memory";

    EngineCore engine(*on.ops, *on.model,
                      {.max_seq_len = plan.max_seq_len,
                       .num_pages = plan.num_pages,
                       .chunk_size = device.chunk_size,
                       .max_sequences = plan.max_sequences,
                       .kv_dtype = cache});
    std::map<std::string, int64_t> planned, held;
    for (const MemoryPool& pool : plan.pools) planned[pool.purpose] = pool.bytes;
    for (const MemoryPool& pool : on.ops->memory()) held[pool.purpose] = pool.bytes;
    const int64_t allowance = planned.at("driver") + planned.at("context");
    planned.erase("driver");
    planned.erase("context");
    planned[std::string(kPinnedPurpose)] = plan.pinned_bytes;
    EXPECT_EQ(held, planned);
    EXPECT_EQ(cuda_device_bytes() - held_before, plan.total_bytes() - allowance);
    answers(engine, config.vocab_size, 20, 8);
    EXPECT_EQ(cuda_device_bytes() - held_before, plan.total_bytes() - allowance);
  }
}

// Alone every step of a sequence is of one row; together they are padded to other sizes, recorded and launched.
TEST_P(CudaTest, AnswersAreTheSameInAnyCompany) {
  for (const auto& [name, dtype, cache] : kSubjects) {
    if (dtype == DTypeChoice::fp8 && !test::has_fp8(GetParam())) continue;
    const Loaded on(GetParam(), name, dtype);
    const int64_t vocab_size = on.checkpoint.config().vocab_size;
    std::vector<std::vector<int32_t>> wanted;
    for (const int64_t at_once : {1, 3, 16}) {
      EngineCore engine(*on.ops, *on.model,
                        {.max_seq_len = 256,
                         .num_pages = 80,
                         .chunk_size = at_once == 3 ? 33 : 128,
                         .max_sequences = at_once,
                         .kv_dtype = cache});
      const auto got = answers(engine, vocab_size, 24, at_once);
      if (wanted.empty()) wanted = got;
      EXPECT_EQ(got, wanted) << name << ", " << at_once << " at once";
    }
  }
}

// The gated product of many rows rounds them to e4m3 for the next one, and both take other tiles than a few rows do.
TEST_P(CudaTest, ManyRowsOfAnMlpInFp8HaveTheBitsOfFew) {
  if (!test::has_fp8(GetParam())) GTEST_SKIP() << "it has no e4m3";
  constexpr int64_t kRows = 500, kHidden = 4096, kInner = 3990;
  const auto ops = test::make_backend(GetParam());
  const auto place = [&](int64_t rows, int64_t cols, WeightUse use, int num_segments) {
    std::vector<WeightSource> sources;
    for (uint64_t seed = 1; std::ssize(sources) < num_segments; ++seed)
      sources.push_back({.rows = rows, .cols = cols, .random = {.seed = seed, .spread = 0.02f}});
    return ops->place(sources, use, Compute::fp8);
  };
  const std::vector<float> ones(kHidden, 1.0f);
  const WeightSource scale{ones.data(), DType::f32, 1, kHidden};
  const Norm norm{ops->place({&scale, 1}, WeightUse::vector, Compute::f32), 1e-6f};
  const Weight gate_up = place(kInner, kHidden, WeightUse::gated, 2),
               down = place(kHidden, kInner, WeightUse::matrix, 1);
  Random random(1);
  std::vector<float> x = random.floats(kRows * kHidden, -1, 1);
  const auto mlp = [&](int64_t first, int64_t count) {
    Tensor rows = ops->to_device({x.data() + first * kHidden, count, kHidden, DType::f32});
    ops->linear_add(rows, ops->norm_gated_mlp(rows, norm, gate_up), down);
    const std::span<const float> sums = ops->to_host(rows);
    return std::vector<float>(sums.begin(), sums.end());
  };
  const std::vector<float> wanted = mlp(0, kRows);
  EXPECT_NE(wanted, x);
  int64_t first = 0;
  for (const int64_t count : {1, 2, 17, 100, 380}) {
    const auto begin = wanted.begin() + first * kHidden;
    EXPECT_EQ(mlp(first, count), std::vector<float>(begin, begin + count * kHidden)) << first << ", " << count;
    first += count;
  }
  EXPECT_EQ(first, kRows);
}

// Steps of one shape by turns over two caches: what was recorded with one is not for the other.
TEST_P(CudaTest, TwoEnginesOfOneBackendKeepTheirCachesApart) {
  const Loaded on(GetParam(), "nib");
  const EngineConfig config{.max_seq_len = 256, .num_pages = 4, .max_sequences = 1, .overlap = false};
  const auto request = [&](int32_t first) {
    Request r;
    for (int32_t i = 0; i < 40; ++i) r.prompt.push_back(first + 3 * i);
    r.sampling.max_tokens = 30;
    r.sampling.temperature = 1;
    r.sampling.seed = static_cast<uint64_t>(first);
    return r;
  };
  std::vector<int32_t> wanted[2], got[2];
  for (int32_t e = 0; e < 2; ++e) {
    EngineCore alone(*on.ops, *on.model, config);
    alone.add(request(5 + e));
    while (!alone.idle())
      for (const TokenEvent& event : alone.step())
        if (event.draw) wanted[e].push_back(event.draw->id);
  }
  EngineCore first(*on.ops, *on.model, config), second(*on.ops, *on.model, config);
  EngineCore* const engines[] = {&first, &second};
  for (int32_t e = 0; e < 2; ++e) engines[e]->add(request(5 + e));
  while (!first.idle() || !second.idle())
    for (int32_t e = 0; e < 2; ++e)
      if (!engines[e]->idle())
        for (const TokenEvent& event : engines[e]->step())
          if (event.draw) got[e].push_back(event.draw->id);
  for (int32_t e = 0; e < 2; ++e) EXPECT_EQ(got[e], wanted[e]) << e;
  EXPECT_NE(wanted[0], wanted[1]);
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaTest, testing::Values("cuda", "cuda-portable", "cuda-apart"),
                         test::backend_test_name);

TEST(Cuda, BothKindsOfKernelsGiveTheSameAnswers) {
  if (!test::machine_has("cuda")) GTEST_SKIP() << "this machine lacks cuda";
  for (const auto& [name, dtype, cache] : kSubjects) {
    if (dtype == DTypeChoice::fp8) continue;  // one kind alone has it
    std::vector<std::vector<int32_t>> wanted;
    for (const char* backend : {"cuda", "cuda-portable"}) {
      const Loaded on(backend, name, dtype);
      EngineCore engine(*on.ops, *on.model,
                        {.max_seq_len = 256, .num_pages = 32, .max_sequences = 5, .kv_dtype = cache});
      const auto got = answers(engine, on.checkpoint.config().vocab_size, 12, 5);
      if (wanted.empty()) wanted = got;
      EXPECT_EQ(got, wanted) << name;
    }
  }
}

// Steps of one row, in one kernel and in many.
TEST(Cuda, AStepInOneKernelGivesTheSameAnswers) {
  if (!test::machine_has("cuda")) GTEST_SKIP() << "this machine lacks cuda";
  for (const std::optional<DType> cache : {std::optional<DType>(), {DType::f8_e4m3}}) {
    std::vector<std::vector<int32_t>> wanted;
    for (const char* backend : {"cuda", "cuda-apart"}) {
      const Loaded on(backend, "nib");
      EngineCore engine(*on.ops, *on.model,
                        {.max_seq_len = 256, .num_pages = 32, .max_sequences = 1, .kv_dtype = cache});
      const auto got = answers(engine, on.checkpoint.config().vocab_size, 12, 1);
      if (wanted.empty()) wanted = got;
      EXPECT_EQ(got, wanted);
    }
  }
}

}  // namespace
}  // namespace qwill
