#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>

#include "base/json.h"
#include "support/test_paths.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

using testing::HasSubstr;

struct Output {
  std::string text;  // stdout and stderr
  int status;
};

Output inspect(const std::string& arguments) {
  const std::string command = fmt::format("'{}' inspect {} 2>&1", program_path(), arguments);
  std::FILE* pipe = ::popen(command.c_str(), "r");
  Output output{"", -1};
  if (!pipe) return output;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) output.text.append(buffer, n);
  const int status = ::pclose(pipe);
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

class Inspect : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(program_path())) GTEST_SKIP() << "no program beside the tests";
  }
};

TEST_F(Inspect, TellsEverythingAsJson) {
  TemporaryFolder folder;
  write_sharded(folder, tiny_moe_config(), 2);
  const Output output = inspect(folder.path() + " --output json");
  ASSERT_EQ(output.status, 0) << output.text;
  const Json json = Json::parse(output.text);
  const Checkpoint checkpoint = open_checkpoint(folder);
  const ModelConfig& config = checkpoint.config();
  EXPECT_EQ(json.find("config")->integer("num_experts"), 3);
  EXPECT_EQ(json.find("parameters")->integer("total"), config.num_parameters());
  EXPECT_EQ(json.find("parameters")->integer("active"), config.num_active_parameters());
  EXPECT_EQ(json.find("dtypes")->find("bf16")->integer("bytes"), checkpoint.total_bytes());
  EXPECT_EQ(json.find("context")->integer("max_len"), 256);
  EXPECT_EQ(json.find("context")->integer("kv_bytes_per_token"), 2 * config.kv_elements_per_token());
  EXPECT_EQ(json.find("tensors")->as_array().size(), expected_tensors(config).size());
  EXPECT_EQ(json.find("files")->as_array().size(), 2u);
  EXPECT_TRUE(json.find("template")->is_null());
}

TEST_F(Inspect, SaysWhichTensorsAreNotUsed) {
  const Output output = inspect(source_path("tests/data/checkpoints/tied-head"));
  EXPECT_EQ(output.status, 0);
  EXPECT_THAT(output.text, HasSubstr("tied to the embedding; the stored lm_head.weight is ignored"));
  EXPECT_THAT(output.text, HasSubstr("not used"));
}

TEST_F(Inspect, RefusesADamagedFolderWithOneLine) {
  TemporaryFolder folder;
  write_single(folder, tiny_dense_config());
  std::filesystem::resize_file(folder.path("model.safetensors"), 1000);
  const Output output = inspect(folder.path());
  EXPECT_EQ(output.status, 1);
  EXPECT_THAT(output.text, HasSubstr("model.safetensors: "));
  EXPECT_EQ(std::count(output.text.begin(), output.text.end(), '\n'), 1) << output.text;
}

}  // namespace
}  // namespace qwill::test
