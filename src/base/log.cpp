#include "base/log.h"

#include <poll.h>
#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <memory>
#include <mutex>

namespace qwill {
namespace {

// Writes to standard error where it takes something within a second; else the line is lost, and the next one is not
// waited for: so the log can always be ended.
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    pollfd ready{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    blocked_ = ::poll(&ready, 1, blocked_ ? 0 : 1000) <= 0;
    if (!blocked_) [[maybe_unused]]
      const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
  }
  void flush_() override {}

  bool blocked_ = false;
};

}  // namespace

struct Log::Sink {
  static constexpr size_t kLines = 8192;
  std::shared_ptr<spdlog::details::thread_pool> thread = std::make_shared<spdlog::details::thread_pool>(kLines, 1);
  std::shared_ptr<spdlog::async_logger> logger = std::make_shared<spdlog::async_logger>(
      "qwill", std::make_shared<StderrSink>(), thread, spdlog::async_overflow_policy::overrun_oldest);
};

Log::Log() : sink_(std::make_unique<Sink>()) { sink_->logger->set_pattern("%v"); }

Log::~Log() = default;

void Log::line(const std::string& text) {
  constexpr size_t kMost = 4000;  // a pipe takes so much in one piece, or says before that it cannot
  sink_->logger->log(spdlog::source_loc(), spdlog::level::info, spdlog::string_view_t(text.substr(0, kMost)));
}

}  // namespace qwill
