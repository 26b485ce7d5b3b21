#include <gtest/gtest.h>

#include <random>

#include "server/reasoning.h"

namespace qwill {
namespace {

using Start = ReasoningSplitter::Start;

std::pair<std::string, std::string> split(Start start, const std::vector<std::string>& pieces) {
  ReasoningSplitter splitter(start);
  std::string reasoning, content;
  const auto add = [&](const ReasoningSplitter::Text& text) {
    reasoning += text.reasoning;
    content += text.content;
  };
  for (const std::string& piece : pieces) add(splitter.push(piece));
  add(splitter.finish());
  return {reasoning, content};
}

TEST(Reasoning, BeginsAsThePromptEnds) {
  EXPECT_EQ(ReasoningSplitter::start_of("<|im_start|>assistant\n"), Start::maybe);
  EXPECT_EQ(ReasoningSplitter::start_of("<|im_start|>assistant\n<think>\n"), Start::reasoning);
  EXPECT_EQ(ReasoningSplitter::start_of("<|im_start|>assistant\n<think>\n\n</think>\n\n"), Start::content);
  EXPECT_EQ(ReasoningSplitter::start_of(""), Start::maybe);
}

struct Case {
  Start start;
  std::string text, reasoning, content;
};
const Case kCases[] = {
    {Start::maybe, "<think>\nLet me see.\n</think>\n\nA river.", "Let me see.", "A river."},
    {Start::maybe, "<think>\n\n</think>\n\nA river.\n", "", "A river.\n"},
    {Start::maybe, "A river <think>x</think>", "", "A river <think>x</think>"},
    {Start::maybe, "  \n<think>a</think>b", "a", "b"},
    {Start::maybe, "  <thin", "", "  <thin"},
    {Start::maybe, "", "", ""},
    {Start::maybe, "<think>\nnever ends </thin", "never ends </thin", ""},
    {Start::maybe, "<think>a</think>b<think>c</think>", "a", "b<think>c</think>"},
    {Start::reasoning, "\n\nLet me\n\n see.\n\n\n</think>\n\n\nA\n", "Let me\n\n see.", "A\n"},
    {Start::reasoning, "a < b </ c </think >d</think>", "a < b </ c </think >d", ""},
    {Start::content, "<think>a</think>\nb", "", "<think>a</think>\nb"},
};

TEST(Reasoning, IsSplitAlikeHoweverItIsCut) {
  std::mt19937 random(1);
  for (const Case& one : kCases) {
    for (int round = 0; round < 50; ++round) {
      std::vector<std::string> pieces;
      for (size_t i = 0; i < one.text.size();) {
        const size_t size = round == 0 ? one.text.size() : 1 + random() % 4;
        pieces.push_back(one.text.substr(i, size));
        i += size;
      }
      const auto [reasoning, content] = split(one.start, pieces);
      ASSERT_EQ(reasoning, one.reasoning) << one.text;
      ASSERT_EQ(content, one.content) << one.text;
    }
  }
}

}  // namespace
}  // namespace qwill
