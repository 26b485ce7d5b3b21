#include "weights/builtin_model.h"

namespace qwill {

extern "C" const EmbeddedRow qwill_builtin_files[];

std::span<const EmbeddedFile> builtin_files() {
  static const std::vector<EmbeddedFile> files = embedded_files(qwill_builtin_files);
  return files;
}

}  // namespace qwill
