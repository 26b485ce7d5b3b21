// A bar on stderr while something long happens; nothing, or little, where stderr is no terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace qwill::cli {

// A bar of bytes behind a word, shown only once it has taken half a second: for LlmOptions::progress.
std::function<void(int64_t done, int64_t total)> byte_progress(std::string doing);
inline std::function<void(int64_t done, int64_t total)> loading_progress() { return byte_progress("loading"); }

// The bar of a batch; gone with it. Speed and time left are of this run.
class BatchProgress {
 public:
  // done: requests, of total, that an earlier run has answered.
  BatchProgress(int64_t done, int64_t total);
  ~BatchProgress();
  BatchProgress(const BatchProgress&) = delete;
  BatchProgress& operator=(const BatchProgress&) = delete;

  // What this run has answered and drawn so far. May be called as often as one likes.
  void show(int64_t answered, int64_t tokens);

 private:
  const bool on_;
  const int64_t first_, total_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool shown_ = false;
  double shown_s_ = 0;
};

// Of a download: a bar where stderr is a terminal, else a line now and then. Gone with it.
class PullBar {
 public:
  explicit PullBar(std::string name);
  ~PullBar();
  PullBar(const PullBar&) = delete;
  PullBar& operator=(const PullBar&) = delete;

  // note: what is waited for; may be empty. May be called as often as one likes.
  void show(int64_t done_bytes, int64_t total_bytes, std::string_view note);

 private:
  const std::string name_;
  const bool on_terminal_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int64_t first_bytes_ = -1;  // that were there before
  bool shown_ = false;
  double shown_s_ = 0;
};

}  // namespace qwill::cli
