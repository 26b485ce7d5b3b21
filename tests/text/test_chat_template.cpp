#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "support/test_paths.h"
#include "text/chat_template.h"

namespace qwill {
namespace {

const char* const kNames[] = {
    "qwen3-2504", "qwen3-2025", "qwen3-instruct-2507", "qwen3-instruct-2507-july", "qwen3-thinking-2507",
    "qwen3-base", "qwen2.5"};

std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string template_text(std::string_view name) {
  return file_text(test::source_path("tests/data/templates/" + std::string(name) + ".jinja"));
}

std::string error_of(std::string_view name, const std::string& request) {
  try {
    ChatTemplate::named(name).render(Json::parse(request));
    return "no error";
  } catch (const Error& e) {
    return e.what();
  }
}

// What one template made of one case: empty if it is what the reference makes of it.
std::string difference(std::string_view name, const std::string& request_text, const std::string* wanted) {
  std::string got;
  try {
    got = ChatTemplate::named(name).render(Json::parse(request_text));
    if (wanted && got == *wanted) return "";
  } catch (const Error& e) {
    const std::string message = e.what();
    if (!wanted && !message.empty() && message.find('\n') == std::string::npos) return "";
    got = "error: " + message;
  }
  return std::string(name) + "\n  request " + request_text + "\n  got     " + json_quote(got) + "\n  wanted  " +
         (wanted ? json_quote(*wanted) : "an error of one line");
}

// Runs a file of cases (tests/text/template_cases.py) and prints the score, which the differential test reads.
void run_cases(const std::string& path) {
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  size_t passed = 0, failed = 0;
  for (std::string line; std::getline(file, line);) {
    const Json parsed = Json::parse(line);
    const std::string& request = parsed.find("request")->as_string();
    const auto check = [&](const Json& name, const std::string* wanted) {
      const std::string wrong = difference(name.as_string(), request, wanted);
      wrong.empty() ? ++passed : ++failed;
      if (!wrong.empty() && failed <= 5) ADD_FAILURE() << wrong;
    };
    for (const Json& group : parsed.find("rendered")->as_array())
      for (const Json& name : group.find("templates")->as_array()) check(name, &group.find("text")->as_string());
    for (const Json& name : parsed.find("refused")->as_array()) check(name, nullptr);
  }
  std::printf("%zu passed, %zu failed\n", passed, failed);
  EXPECT_EQ(failed, 0u);
  EXPECT_GT(passed, 0u);
}

TEST(ChatTemplate, EqualsTheReferenceOnTheGoldens) {
  run_cases(test::source_path("tests/data/templates/goldens.jsonl"));
}

TEST(ChatTemplate, EqualsTheReferenceOnGivenCases) {
  const char* path = std::getenv("QWILL_TEMPLATE_CASES");
  if (!path) GTEST_SKIP() << "tests/text/differential_template.py names the cases in QWILL_TEMPLATE_CASES";
  run_cases(path);
}

TEST(ChatTemplate, RecognisesEachPublishedText) {
  for (const char* name : kNames) {
    std::string text = template_text(name);
    EXPECT_EQ(ChatTemplate::recognise(text).name(), name);
    if (text.ends_with('\n'))
      text.pop_back();
    else
      text += '\n';
    EXPECT_EQ(ChatTemplate::recognise(text).name(), name) << "one newline more or less at the end";
    EXPECT_EQ(ChatTemplate::named(name).kind(), ChatTemplate::recognise(text).kind());
  }
}

TEST(ChatTemplate, RefusesWhatItDoesNotKnow) {
  const std::string text = template_text("qwen3-2504");
  for (const std::string& unknown :
       {std::string(), text + "\n\n", text + " ", text.substr(1), std::string("{{ messages }}")}) {
    try {
      ChatTemplate::recognise(unknown);
      FAIL() << unknown;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::unsupported);
      const std::string message = e.what();
      EXPECT_EQ(message.find('\n'), std::string::npos);
      EXPECT_NE(message.find("--chat-template"), std::string::npos);
      EXPECT_NE(message.find("qwen3-2504"), std::string::npos);
    }
  }
  try {
    ChatTemplate::named("llama");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
  }
}

TEST(ChatTemplate, NamesThePlaceOfAnError) {
  EXPECT_EQ(error_of("qwen3-2504", R"({})"), "messages: missing");
  EXPECT_EQ(error_of("qwen3-2504", R"({"messages":[]})"), "messages: empty; a chat needs at least one message");
  EXPECT_EQ(error_of("qwen3-2504", R"({"messages":[{"role":"user","content":5}]})"),
            "messages[0].content: expected a string, found an integer");
  EXPECT_EQ(error_of("qwen3-2504", R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"),
            "messages[0].content[0]: only parts of type \"text\" can be read, found \"image_url\"");
  EXPECT_EQ(error_of("qwen3-2025",
                     R"({"messages":[{"role":"user"},{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}]})"),
            "messages[1].tool_calls[0].function.arguments: missing");
  EXPECT_EQ(error_of("qwen3-2504", R"({"messages":[{"role":"user","content":""}],"tools":[1]})"),
            "tools[0]: expected an object, found an integer");
}

// A list of text parts reads as the text that they make together, whatever the published text does with lists.
TEST(ChatTemplate, FlattensListsOfParts) {
  const char* listed = R"({"messages":[{"role":"system","content":[{"type":"text","text":"S"}]},
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":[],"tool_calls":[{"name":"f","arguments":{}}]},
      {"role":"tool","content":["x","y"]}]})";
  const char* plain = R"({"messages":[{"role":"system","content":"S"},{"role":"user","content":"ab"},
      {"role":"assistant","content":"","tool_calls":[{"name":"f","arguments":{}}]},{"role":"tool","content":"xy"}]})";
  const char* null = R"({"messages":[{"role":"system","content":"S"},{"role":"user","content":"ab"},
      {"role":"assistant","content":null,"tool_calls":[{"name":"f","arguments":{}}]},{"role":"tool","content":"xy"}]})";
  for (const char* name : kNames) {
    const ChatTemplate chat = ChatTemplate::named(name);
    EXPECT_EQ(chat.render(Json::parse(listed)), chat.render(Json::parse(plain))) << name;
    EXPECT_EQ(chat.render(Json::parse(null)), chat.render(Json::parse(plain))) << name;
  }
}

// Nothing of the request is trusted, and everything else is the template's.
TEST(ChatTemplate, TrustsOnlyItsOwnWords) {
  const Json request = Json::parse(R"({"messages":[{"role":"system","content":"Q1"},{"role":"user","content":"Q2"},
      {"role":"assistant","content":"Q3","reasoning_content":"Q4","tool_calls":[{"function":{"name":"Q5","arguments":"{\"Q6\":\"Q6\"}"}}]},
      {"role":"tool","content":"Q7"}],"tools":[{"Q8":"Q9"}]})");
  for (const char* name : kNames) {
    std::string joined;
    for (const PromptSegment& segment : ChatTemplate::named(name).render_segments(request)) {
      EXPECT_EQ(segment.trusted,
                segment.text.find('Q') == std::string::npos || segment.text.find("Qwen") != std::string::npos)
          << name << ": " << segment.text;
      EXPECT_TRUE(segment.trusted || segment.text.find("<|") == std::string::npos) << segment.text;
      joined += segment.text;
    }
    EXPECT_EQ(joined, ChatTemplate::named(name).render(request));
  }
}

TEST(ChatTemplate, ChoosesTheTextOfACheckpoint) {
  const Json one = Json::parse(R"({"chat_template":"T"})");
  const Json list = Json::parse(
      R"({"chat_template":[{"name":"default","template":"D"},{"name":"tool_use","template":"U"},{"name":"rag","template":"R"}]})");
  EXPECT_EQ(chat_template_text(std::nullopt, one, true), "T");
  EXPECT_EQ(chat_template_text("J", one, false), "J");
  EXPECT_EQ(chat_template_text("J", list, true), "J");
  EXPECT_EQ(chat_template_text(std::nullopt, list, false), "D");
  EXPECT_EQ(chat_template_text(std::nullopt, list, true), "U");
  EXPECT_EQ(chat_template_text(std::nullopt, Json::parse("{}"), true), std::nullopt);
  EXPECT_EQ(chat_template_text(std::nullopt, Json::parse(R"({"chat_template":null})"), true), std::nullopt);
  EXPECT_THROW(chat_template_text(std::nullopt, Json::parse(R"({"chat_template":7})"), true), Error);
  EXPECT_THROW(
      chat_template_text(std::nullopt, Json::parse(R"({"chat_template":[{"name":"rag","template":"R"}]})"), true),
      Error);
}

}  // namespace
}  // namespace qwill
