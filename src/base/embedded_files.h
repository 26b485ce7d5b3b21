// Files that are part of the program (embedded_files.cmake).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace qwill {

struct EmbeddedFile {
  std::string_view name;             // "config.json"
  std::span<const std::byte> bytes;  // read-only, begins on a page boundary, lives as long as the program
};

// A row of the assembled table; one without a name ends it.
struct EmbeddedRow {
  const char* name;
  const std::byte* bytes;
  uint64_t size;
};

inline std::vector<EmbeddedFile> embedded_files(const EmbeddedRow* row) {
  std::vector<EmbeddedFile> files;
  for (; row->name; ++row) files.push_back({row->name, {row->bytes, row->size}});
  return files;
}

}  // namespace qwill
