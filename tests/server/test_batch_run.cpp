#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/json.h"
#include "server/batch_run.h"

namespace qwill {
namespace {

std::unique_ptr<Llm> open_builtin(int64_t max_sequences, int64_t max_queued) {
  LlmOptions options;
  options.device = "cpu";
  options.num_threads = 1;
  options.max_sequences = max_sequences;
  options.max_queued = max_queued;
  return Llm::open(options);
}

class BatchRun : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_);
    std::ofstream file(folder_ / "in");
    for (int i = 0; i < kNumRequests; ++i)
      file << fmt::format(R"({{"custom_id":"{}","method":"POST","url":"/v1/completions",)"
                          R"("body":{{"prompt":"Number {} is","n":{},"temperature":1,"max_tokens":{}}}}})"
                          "\n",
                          i, i, 1 + i % 3, 3 + i % 7);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Runs until `cancel` is set; the texts of the first choices, by custom_id.
  std::map<std::string, std::string> run(Llm& llm, const std::string& out, const std::atomic<bool>& cancel,
                                         const std::function<void(const BatchCounts&)>& on_progress) const {
    {
      BatchInput input(folder_ / "in");
      BatchOutput output(folder_ / out, input);
      input.start();
      run_batch(llm, "nib", input, output, cancel, on_progress);
    }
    std::map<std::string, std::string> texts;
    std::ifstream file(folder_ / out);
    for (std::string line; std::getline(file, line);) {
      const Json json = Json::parse(line);
      const Json& body = *json.find("response")->find("body");
      EXPECT_EQ(body.string_or("model", ""), "nib");
      const bool is_new = texts.emplace(json.find("custom_id")->as_string(), body.find("choices")->dump()).second;
      EXPECT_TRUE(is_new) << line;
    }
    return texts;
  }

  static constexpr int kNumRequests = 40;
  const std::atomic<bool> never_ = false;
  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("qwill-batch-run-" + std::to_string(::getpid()));
};

void ignore(const BatchCounts&) {}

TEST_F(BatchRun, AQueueThatIsFullIsWaitedFor) {
  const auto wide = run(*open_builtin(8, 4096), "wide", never_, ignore);
  EXPECT_EQ(wide.size(), size_t{kNumRequests});
  EXPECT_EQ(run(*open_builtin(2, 1), "narrow", never_, ignore), wide);
}

TEST_F(BatchRun, StopsWhenToldAndGoesOn) {
  const auto llm = open_builtin(2, 4096);
  const auto whole = run(*llm, "whole", never_, ignore);
  std::atomic<bool> cancel = false;
  BatchCounts last;
  const auto some = run(*llm, "part", cancel, [&](const BatchCounts& counts) {
    EXPECT_GE(counts.answered, last.answered);
    EXPECT_GE(counts.output_tokens, last.output_tokens);
    last = counts;
    cancel = counts.answered >= 3;
  });
  EXPECT_GE(some.size(), 3u);
  EXPECT_LT(some.size(), size_t{kNumRequests});
  EXPECT_EQ(run(*llm, "part", never_, ignore), whole);
}

}  // namespace
}  // namespace qwill
