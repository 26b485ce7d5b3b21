#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>

#include "support/test_paths.h"

namespace qwill::test {
namespace {

using testing::HasSubstr;

struct Output {
  std::string text;  // stdout and stderr
  int status;
};

// What the shell makes of a command; QWILL stands for the program, MODEL for the folder of the published tokenizer.
Output run(std::string command) {
  for (const auto& [name, value] :
       {std::pair("QWILL", program_path()), std::pair("MODEL", beside_program("qwen3-tokenizer"))}) {
    for (size_t found; (found = command.find(name)) != std::string::npos;)
      command.replace(found, std::string(name).size(), value);
  }
  std::FILE* pipe = ::popen(("{ " + command + "; } 2>&1").c_str(), "r");
  Output output{"", -1};
  if (!pipe) return output;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) output.text.append(buffer, n);
  const int status = ::pclose(pipe);
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

class TokenizeCommand : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(program_path())) GTEST_SKIP() << "no program beside the tests";
  }

  static void expect(const std::string& command, const std::string& text, int status = 0) {
    const Output output = run(command);
    EXPECT_EQ(output.text, text) << command;
    EXPECT_EQ(output.status, status) << command;
  }
};

TEST_F(TokenizeCommand, TakesStdinAsItIs) {
  expect("printf 'Hello\\n' | QWILL tokenize MODEL", "9707 198\n");
  expect("printf 'Hello<|im_end|>' | QWILL tokenize MODEL", "9707 151645\n");
  expect("printf '<|im_end|>' | QWILL tokenize MODEL --plain", "27 91 318 6213 91 29\n");
  expect("printf '' | QWILL tokenize MODEL", "\n");
}

TEST_F(TokenizeCommand, DetokenizeAddsNothing) {
  expect("printf '9707,198\\n151645' | QWILL detokenize MODEL", "Hello\n<|im_end|>");
  expect("printf '146 151900 9707' | QWILL detokenize MODEL", "\ufffdHello");  // half a character, a padding row
}

TEST_F(TokenizeCommand, AnswersLineByLine) {
  expect("printf '{\"text\": \"Hello\"}\\n\\n{\"text\": \"\"}' | QWILL tokenize MODEL --jsonl",
         "{\"token_ids\":[9707]}\n{\"token_ids\":[]}\n");
  expect("printf '{\"token_ids\": [9707, 198]}\\n' | QWILL detokenize MODEL --jsonl", "{\"text\":\"Hello\\n\"}\n");
}

TEST_F(TokenizeCommand, OneLineForWhatIsWrong) {
  expect("printf 'ab\\377' | QWILL tokenize MODEL", "qwill: stdin: invalid UTF-8 at byte 2\n", 1);
  expect("printf '{\"text\": \"Hello\"}\\n{\"text\": 3}\\n' | QWILL tokenize MODEL --jsonl",
         "{\"token_ids\":[9707]}\nqwill: stdin: line 2: text: expected a string, found an integer\n", 1);
  expect("printf '{}' | QWILL tokenize MODEL --jsonl", "qwill: stdin: line 1: expected an object with \"text\"\n", 1);
  expect("printf '1 x' | QWILL detokenize MODEL", "qwill: stdin: \"x\" at byte 2 is no token id\n", 1);
  expect("printf '{\"token_ids\": [3000000000]}' | QWILL detokenize MODEL --jsonl",
         "qwill: stdin: line 1: token_ids: 3000000000 is no token id\n", 1);
  const Output missing = run("printf x | QWILL tokenize /nowhere");
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.text, HasSubstr("/nowhere"));
  EXPECT_EQ(run("printf x | QWILL tokenize MODEL --no-such-flag").status, 2);
}

TEST_F(TokenizeCommand, EndsQuietlyWhenNobodyReads) {
  expect("(yes '{\"text\": \"Hello\"}' | head -100000 | QWILL tokenize MODEL --jsonl; echo $? >&2) | head -1",
         "{\"token_ids\":[9707]}\n0\n");
}

}  // namespace
}  // namespace qwill::test
