#include "cli/progress.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "cli/output.h"

namespace qwill::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string bar(int64_t done, int64_t total) {
  constexpr int kWidth = 30;
  const auto filled = static_cast<size_t>(static_cast<double>(done) / static_cast<double>(total) * kWidth);
  std::string text;
  for (size_t i = 0; i < kWidth; ++i) text += i < filled ? "█" : "░";
  return text;
}

// "1:02:03"
std::string hours(double seconds) {
  const auto whole = static_cast<int64_t>(std::min(seconds, 3.6e8));
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

void erase_line() {
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
}

}  // namespace

std::function<void(int64_t, int64_t)> byte_progress(std::string doing) {
  if (!stderr_is_terminal()) return nullptr;
  return [doing = std::move(doing), start = std::optional<Clock::time_point>(), shown = false](int64_t done, int64_t total) mutable {
    if (!start) start = Clock::now();
    const double seconds = seconds_since(*start);
    if (!shown && seconds < 0.5) return;
    shown = true;
    fmt::print(stderr, "\r{} {} {:.1f} of {:.1f} GB, {:.1f} GB/s\x1b[K", doing, bar(done, total),
               static_cast<double>(done) / 1e9, static_cast<double>(total) / 1e9,
               static_cast<double>(done) / 1e9 / seconds);
    std::fflush(stderr);
    if (done == total) erase_line();
  };
}

BatchProgress::BatchProgress(int64_t done, int64_t total) : on_(stderr_is_terminal()), first_(done), total_(total) {}

BatchProgress::~BatchProgress() {
  if (shown_) erase_line();
}

void BatchProgress::show(int64_t answered, int64_t tokens) {
  if (!on_) return;
  const double seconds = seconds_since(start_);
  if (seconds - shown_s_ < 0.1) return;
  shown_s_ = seconds;
  shown_ = true;
  const int64_t done = first_ + answered;
  const std::string left =
      answered > 0 ? hours(seconds / static_cast<double>(answered) * static_cast<double>(total_ - done)) : "?";
  fmt::print(stderr, "\r{} {} of {} requests, {:.0f} tok/s, {} left\x1b[K", bar(done, total_), done, total_,
             static_cast<double>(tokens) / seconds, left);
  std::fflush(stderr);
}

PullBar::PullBar(std::string name) : name_(std::move(name)), on_terminal_(stderr_is_terminal()) {}

PullBar::~PullBar() {
  if (shown_ && on_terminal_) erase_line();
}

void PullBar::show(int64_t done_bytes, int64_t total_bytes, std::string_view note) {
  if (first_bytes_ < 0 && total_bytes > 0) first_bytes_ = done_bytes;
  const double seconds = seconds_since(start_);
  constexpr double kOnTerminalS = 0.1, kElsewhereS = 15;
  if (seconds - shown_s_ < (on_terminal_ ? kOnTerminalS : kElsewhereS)) return;
  shown_s_ = seconds;
  shown_ = true;
  const double done = static_cast<double>(done_bytes), total = static_cast<double>(total_bytes);
  const double rate = static_cast<double>(done_bytes - std::max<int64_t>(first_bytes_, 0)) / seconds;
  std::string text = fmt::format("{:.2f} of {:.2f} GB, {:.1f} MB/s", done / 1e9, total / 1e9, rate / 1e6);
  if (rate > 0) text += fmt::format(", {} left", hours((total - done) / rate));
  if (!note.empty()) text = note;
  if (on_terminal_)
    fmt::print(stderr, "\r{} {} {}\x1b[K", name_, bar(done_bytes, std::max<int64_t>(total_bytes, 1)), text);
  else
    fmt::print(stderr, "qwill: {}: {}\n", name_, text);
  std::fflush(stderr);
}

}  // namespace qwill::cli
