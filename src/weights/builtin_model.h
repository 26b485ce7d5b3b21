// The files of models/nib/, embedded in the program.
#pragma once

#include <span>

#include "base/embedded_files.h"

namespace qwill {

// Empty if this build has no built-in model.
std::span<const EmbeddedFile> builtin_files();

}  // namespace qwill
