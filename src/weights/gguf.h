// The GGUF format, versions 2 and 3, little-endian: metadata, a table of tensors, raw tensors.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (format). Everything is checked before use.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "weights/gguf_value.h"
#include "weights/tensor_file.h"

namespace qwill {

// Tensors by the file's own names; shapes as everywhere here, the longest stride first (the format has them reversed).
class GgufFile : public TensorFile {
 public:
  // Reads metadata and table alone: the cost does not depend on the size of the data.
  // Throws Error(invalid) "NAME: what (where)": not such a file or cut short, counts, lengths and dimensions that do
  // not fit it, names given twice, unknown kinds of values, tensors that overlap, are not aligned or leave the file;
  // Error(unsupported) for other versions and byte orders, and lists of lists.
  static GgufFile parse(MappedFile file);

  // The value of that key, or nothing.
  const GgufValue* find_value(std::string_view key) const;
  // f(value) of that key, which must be there. Throws Error(invalid) "NAME: KEY: missing"; what f throws gains the same
  // words in front.
  template <typename F>
  auto read(std::string_view key, F&& f) const {
    return with_context(file_.name(), [&] {
      const GgufValue* found = find_value(key);
      if (!found) fail_invalid("{}: missing", key);
      return with_context(key, [&] { return f(*found); });
    });
  }

 private:
  std::map<std::string_view, GgufValue> metadata_;
};

// All shards of a model, in their order, given the path of any of them: the file itself if it is the only one.
// Throws Error besides, naming the file: shards whose names do not say which they are, that are missing, or that say
// something else than their name.
std::vector<GgufFile> open_gguf(const std::string& path);
// Its first shard, which holds the metadata.
GgufFile open_first_gguf(const std::string& path);

}  // namespace qwill
