// Numbers as Python's json writes them (tests/data/python_float.txt), since templates render them into prompts.
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <string>

#include "base/json.h"
#include "support/test_paths.h"

namespace qwill {
namespace {

TEST(PythonFloat, IsWhatPythonWrites) {
  std::ifstream file(test::source_path("tests/data/python_float.txt"));
  int count = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) continue;
    const uint64_t bits = std::stoull(line.substr(0, 16), nullptr, 16);
    EXPECT_EQ(python_float(std::bit_cast<double>(bits)), line.substr(17)) << line;
    ++count;
  }
  EXPECT_GE(count, 300);
}

}  // namespace
}  // namespace qwill
