// Includes run only down the floors of the house (docs/architecture.md, "Layout"), rooms of one floor do not include
// each other, and a CUDA header appears in src/cuda only.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>

#include "support/test_paths.h"

namespace qwill {
namespace {

const std::map<std::string, int> kFloors = {
    {"base", 0}, {"tensor", 1}, {"ops", 2},    {"weights", 2}, {"text", 2},   {"grammar", 2}, {"model", 3},
    {"cpu", 3},  {"cuda", 3},   {"engine", 4}, {"llm", 5},     {"server", 6}, {"python", 6},  {"cli", 7},
};

// What is wrong with one include of a file below src/, or nothing.
std::string complaint(const std::string& file, const std::string& included, bool quoted) {
  const auto room_of = [](const std::string& path) { return path.substr(0, path.find('/')); };
  const std::string from = room_of(file), to = room_of(included);
  static const std::regex cuda_header("cu(da|blas|rand|sparse|solver|pti).*|(mma|crt|cub|thrust|cute|cutlass|nccl|nvtx).*|cooperative_groups.*");
  if (!quoted)
    return from != "cuda" && std::regex_match(included, cuda_header) ? "a CUDA header outside src/cuda" : "";
  if (!kFloors.contains(from)) return fmt::format("room {} stands on no floor", from);
  if (!kFloors.contains(to)) return fmt::format("{} is no room below src", to);
  if (from == to) return "";
  if (kFloors.at(to) == kFloors.at(from)) return fmt::format("{} and {} are rooms of one floor", from, to);
  if (kFloors.at(to) > kFloors.at(from)) return fmt::format("{} lies above {}", to, from);
  return "";
}

TEST(Layering, ComplaintsNameTheRule) {
  EXPECT_EQ(complaint("cli/main.cpp", "base/error.h", true), "");
  EXPECT_EQ(complaint("cpu/kernels/attend.h", "cpu/kernels.h", true), "");
  EXPECT_EQ(complaint("base/json.cpp", "tensor/dtype.h", true), "tensor lies above base");
  EXPECT_EQ(complaint("text/bpe.cpp", "weights/checkpoint.h", true), "text and weights are rooms of one floor");
  EXPECT_EQ(complaint("model/qwen3.cpp", "cpu/cpu_ops.h", true), "model and cpu are rooms of one floor");
  EXPECT_EQ(complaint("engine/engine.cpp", "support/random.h", true), "support is no room below src");
  EXPECT_EQ(complaint("llm/llm.cpp", "cuda_runtime.h", false), "a CUDA header outside src/cuda");
  EXPECT_EQ(complaint("cuda/device.cu", "cuda_runtime.h", false), "");
}

TEST(Layering, IncludesRunDownTheFloors) {
  const std::filesystem::path root = test::source_path("src");
  if (!std::filesystem::exists(root)) GTEST_SKIP() << "no sources beside the tests";
  const std::regex include(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)");
  int num_includes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string extension = entry.path().extension();
    if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") continue;
    const std::string file = std::filesystem::relative(entry.path(), root);
    std::ifstream stream(entry.path());
    std::smatch match;
    for (std::string line; std::getline(stream, line);) {
      if (!line.starts_with("#") || !std::regex_match(line, match, include)) continue;
      ++num_includes;
      const std::string wrong = complaint(file, match[2], match[1] == "\"");
      EXPECT_EQ(wrong, "") << "src/" << file << " includes " << match[2];
    }
  }
  EXPECT_GT(num_includes, 100);
}

}  // namespace
}  // namespace qwill
