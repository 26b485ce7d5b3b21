#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"

namespace qwill {
namespace {

TEST(Json, KeepsOrderAndTheLastDuplicate) {
  const Json json = Json::parse(R"({"b":1,"a":2,"b":3})");
  EXPECT_EQ(json.dump(), R"({"b":3,"a":2})");
}

TEST(Json, ManyDuplicates) {
  std::string text = "{";
  for (int i = 0; i < 200; ++i) text += "\"k" + std::to_string(i % 100) + "\":" + std::to_string(i) + ",";
  text.back() = '}';
  const Json json = Json::parse(text);
  ASSERT_EQ(json.as_object().size(), 100u);
  EXPECT_EQ(json.integer("k7"), 107);
  EXPECT_EQ(json.as_object().front().first, "k0");
}

TEST(Json, PrintsNumbersAsPythonDoes) {
  const std::pair<const char*, const char*> cases[] = {
      {"1", "1"},           {"-0", "0"},          {"1.0", "1.0"},
      {"1e5", "100000.0"},  {"1e16", "1e+16"},    {"0.0001", "0.0001"},
      {"0.00001", "1e-05"}, {"1e300", "1e+300"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"0.1", "0.1"},       {"1234567.125", "1234567.125"}, {"-2.5e-7", "-2.5e-07"}, {"-0.0", "-0.0"},
      {"9007199254740993.0", "9007199254740992.0"}, {"1.5e300", "1.5e+300"}};
  for (const auto& [in, out] : cases) EXPECT_EQ(Json::parse(in).dump_python(), out) << in;
}

TEST(Json, PrintsStringsAsPythonDoes) {
  EXPECT_EQ(Json::parse(R"(["é\u0001\u007f/\/<>&'\"\\", {"a": [], "b": {}}, null, true])").dump_python(),
            "[\"é\\u0001\x7f//<>&'\\\"\\\\\", {\"a\": [], \"b\": {}}, null, true]");
}

TEST(Json, RefusesBadText) {
  const std::string deep(300, '['), nul("[1\0]", 4);
  for (const std::string& text : {std::string(""), std::string("{"), std::string("[1,]"), std::string("1 2"), deep, nul,
                                  std::string("\"\xff\""), std::string("1e400"), std::string("{\"a\" 1}"), std::string("\"\\ud800\""), std::string("\"\\udc00\""), std::string("{\"\\udfff\":1}")})
    EXPECT_THROW(Json::parse(text), Error) << text;
}

TEST(Json, NamesTheKeyOfAWrongType) {
  const Json json = Json::parse(R"({"n": "x", "big": 99999999999999999999, "half": 0.5, "whole": 3.0})");
  try {
    json.integer("n");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "n: expected an integer, found a string");
  }
  EXPECT_THROW(json.integer("big"), Error);
  EXPECT_THROW(json.integer("half"), Error);
  EXPECT_THROW(json.integer("missing"), Error);
  EXPECT_EQ(json.integer("whole"), 3);
}

}  // namespace
}  // namespace qwill
