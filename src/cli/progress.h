// A bar on stderr while something long happens; nothing where stderr is no terminal.
#pragma once

#include <cstdint>
#include <functional>

namespace qwill::cli {

// For LlmOptions::progress. Shown only once loading has taken half a second.
std::function<void(int64_t done, int64_t total)> loading_progress();

}  // namespace qwill::cli
