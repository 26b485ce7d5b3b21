#include "weights/builtin_model.h"

#include <cstdint>
#include <vector>

namespace qwill {
namespace {

// A row of the table in the assembled file; a row without name ends it.
struct Row {
  const char* name;
  const std::byte* bytes;
  uint64_t size;
};

}  // namespace

extern "C" const Row qwill_builtin_files[];

std::span<const BuiltinFile> builtin_files() {
  static const std::vector<BuiltinFile> files = [] {
    std::vector<BuiltinFile> all;
    for (const Row* row = qwill_builtin_files; row->name; ++row) all.push_back({row->name, {row->bytes, row->size}});
    return all;
  }();
  return files;
}

}  // namespace qwill
