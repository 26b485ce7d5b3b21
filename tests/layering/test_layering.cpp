// Includes run only down the floors of the house (docs/architecture.md, "Layout"), rooms of one floor do not include
// each other, and a CUDA header appears in src/cuda only.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>

#include "support/test_paths.h"

namespace qwill {
namespace {

const std::map<std::string, int> kFloors = {
    {"qwill", -1},  // the public headers, include/qwill
    {"base", 0},   {"tensor", 1}, {"http", 1}, {"hub", 1},    {"ops", 2}, {"weights", 2}, {"text", 2},   {"grammar", 2},
    {"model", 3},  {"cpu", 3},    {"cuda", 3}, {"engine", 4}, {"llm", 5}, {"server", 6},  {"python", 6}, {"cli", 7},
};

bool is_cuda_header(const std::string& name) {
  constexpr std::string_view kBeginnings[] = {"cuda",     "cublas", "curand", "cub/",  "thrust/", "cute/",
                                              "cutlass/", "nccl",   "nvtx",   "mma.h", "crt/",    "cooperative_groups"};
  return std::ranges::any_of(kBeginnings, [&](std::string_view beginning) { return name.starts_with(beginning); });
}

// What is wrong with one include of a file below src/, or nothing.
std::string complaint(const std::string& file, const std::string& included, bool quoted) {
  const auto room_of = [](const std::string& path) { return path.substr(0, path.find('/')); };
  const std::string from = room_of(file), to = room_of(included);
  if (!quoted && from == "qwill" && included.find_first_of("./") != std::string::npos)
    return "a public header needs the standard library alone";
  if (!quoted) return from != "cuda" && is_cuda_header(included) ? "a CUDA header outside src/cuda" : "";
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
  EXPECT_EQ(complaint("base/error.h", "qwill/error.h", true), "");
  EXPECT_EQ(complaint("qwill/llm.h", "base/error.h", true), "base lies above qwill");
  EXPECT_EQ(complaint("cuda/device.cu", "cuda_runtime.h", false), "");
  EXPECT_EQ(complaint("qwill/llm.h", "vector", false), "");
  EXPECT_EQ(complaint("qwill/llm.h", "fmt/core.h", false), "a public header needs the standard library alone");
}

// Returns the number of includes of the files below `root`.
int check_folder(const std::filesystem::path& root) {
  int num_includes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string extension = entry.path().extension();
    if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") continue;
    const std::string file = std::filesystem::relative(entry.path(), root);
    std::ifstream stream(entry.path());
    for (std::string line; std::getline(stream, line);) {
      const size_t hash = line.find_first_not_of(' '), open = line.find_first_of("<\"");
      if (open == std::string::npos || line[hash] != '#' || line.find("include", hash) > open) continue;
      const std::string included = line.substr(open + 1, line.find_first_of(">\"", open + 1) - open - 1);
      ++num_includes;
      const std::string wrong = complaint(file, included, line[open] == '"');
      EXPECT_EQ(wrong, "") << file << " includes " << included;
    }
  }
  return num_includes;
}

TEST(Layering, IncludesRunDownTheFloors) {
  const std::filesystem::path sources = test::source_path("src");
  if (!std::filesystem::exists(sources)) GTEST_SKIP() << "no sources beside the tests";
  EXPECT_GT(check_folder(sources), 100);
  EXPECT_GT(check_folder(test::source_path("include")), 10);
}

}  // namespace
}  // namespace qwill
