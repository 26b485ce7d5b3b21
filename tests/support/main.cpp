#include <gtest/gtest.h>

#include <filesystem>
#include <string_view>

#include "support/test_paths.h"

namespace qwill::test {
namespace {
std::string g_root = QWILL_SOURCE_DIR;
}

std::string source_path(const std::string& relative) { return g_root + "/" + relative; }

std::string beside_program(const std::string& relative) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / relative).string();
}

std::string program_path() {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  const auto beside = self.parent_path() / "qwill";
  return std::filesystem::exists(beside) ? beside.string() : (self.parent_path().parent_path() / "qwill").string();
}

}  // namespace qwill::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--root") qwill::test::g_root = argv[i + 1];
  return RUN_ALL_TESTS();
}
