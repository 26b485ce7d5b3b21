// The files of models/nib/, embedded in the program by builtin_model.S.in.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace qwill {

struct BuiltinFile {
  std::string_view name;             // "config.json"
  std::span<const std::byte> bytes;  // read-only, begins on a page boundary, lives as long as the program
};

// Empty if this build has no built-in model.
std::span<const BuiltinFile> builtin_files();

}  // namespace qwill
