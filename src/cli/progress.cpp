#include "cli/progress.h"

#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

#include "cli/output.h"

namespace qwill::cli {

std::function<void(int64_t, int64_t)> loading_progress() {
  if (!stderr_is_terminal()) return nullptr;
  using Clock = std::chrono::steady_clock;
  return [start = std::optional<Clock::time_point>(), shown = false](int64_t done, int64_t total) mutable {
    if (!start) start = Clock::now();
    const double seconds = std::chrono::duration<double>(Clock::now() - *start).count();
    if (!shown && seconds < 0.5) return;
    shown = true;
    constexpr int kWidth = 30;
    const auto filled = static_cast<size_t>(static_cast<double>(done) / static_cast<double>(total) * kWidth);
    std::string bar;
    for (size_t i = 0; i < kWidth; ++i) bar += i < filled ? "█" : "░";
    fmt::print(stderr, "\rloading {} {:.1f} of {:.1f} GB, {:.1f} GB/s\x1b[K", bar, static_cast<double>(done) / 1e9,
               static_cast<double>(total) / 1e9, static_cast<double>(done) / 1e9 / seconds);
    if (done == total) fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
  };
}

}  // namespace qwill::cli
