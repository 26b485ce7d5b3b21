#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/test_paths.h"

namespace qwill {
namespace {

struct Outcome {
  int status;
  std::string out, err;
};

std::string text_of(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class RenderCommand : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(test::program_path())) GTEST_SKIP() << "no program beside the tests";
    folder_ = testing::TempDir() + "qwill_render_" + std::to_string(::getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << text;
  }

  // Runs `qwill render ARGUMENTS` with input on stdin.
  Outcome render(const std::string& arguments, const std::string& input) const {
    write("in", input);
    const std::string command = test::program_path() + " render " + arguments + " < " + folder_ + "/in > " + folder_ +
                                "/out 2> " + folder_ + "/err";
    const int status = std::system(command.c_str());
    return {WEXITSTATUS(status), text_of(folder_ + "/out"), text_of(folder_ + "/err")};
  }

  std::string folder_;
};

const char* const kHello = R"({"messages":[{"role":"user","content":"Hello"}],"enable_thinking":null})";

TEST_F(RenderCommand, AddsNothingToThePrompt) {
  const Outcome done = render("--chat-template qwen3-2504", kHello);
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.out, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(done.err, "");
}

TEST_F(RenderCommand, ReadsTheTemplateOfTheFolder) {
  const std::string path = test::source_path("tests/data/templates/qwen3-thinking-2507.jinja");
  write("tokenizer_config.json", R"({"chat_template":"unknown"})");
  const Outcome unknown = render(folder_, kHello);
  EXPECT_EQ(unknown.status, 1);
  EXPECT_NE(unknown.err.find("--chat-template"), std::string::npos) << unknown.err;
  EXPECT_EQ(std::count(unknown.err.begin(), unknown.err.end(), '\n'), 1) << unknown.err;

  const Outcome named = render(folder_ + " --chat-template qwen2.5", kHello);
  EXPECT_EQ(named.out.substr(0, 40), "<|im_start|>system\nYou are Qwen, created") << named.err;

  std::filesystem::copy_file(path, folder_ + "/chat_template.jinja");
  const Outcome file = render(folder_, kHello);
  EXPECT_EQ(file.status, 0) << file.err;
  EXPECT_EQ(file.out, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n");
}

TEST_F(RenderCommand, RefusesInOneLine) {
  for (const auto& [input, status] :
       {std::pair<std::string, int>{"", 1}, {"{", 1}, {"[]", 1}, {"{\"messages\":[]}", 1}, {"\xff", 1}}) {
    const Outcome done = render("--chat-template qwen3-2504", input);
    EXPECT_EQ(done.status, status) << input;
    EXPECT_EQ(done.out, "");
    EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
  }
  EXPECT_EQ(render("--chat-template llama", kHello).status, 2);
}

}  // namespace
}  // namespace qwill
