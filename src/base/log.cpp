#include "base/log.h"

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <memory>

namespace qwill {

struct Log::Sink {
  static constexpr size_t kLines = 8192;
  std::shared_ptr<spdlog::details::thread_pool> thread = std::make_shared<spdlog::details::thread_pool>(kLines, 1);
  std::shared_ptr<spdlog::async_logger> logger =
      std::make_shared<spdlog::async_logger>("qwill", std::make_shared<spdlog::sinks::stderr_sink_mt>(), thread,
                                             spdlog::async_overflow_policy::overrun_oldest);
};

Log::Log() : sink_(new Sink) {
  sink_->logger->set_pattern("%v");
  sink_->logger->flush_on(spdlog::level::info);
}

Log::~Log() { delete sink_; }

void Log::line(const std::string& text) {
  sink_->logger->log(spdlog::source_loc(), spdlog::level::info, spdlog::string_view_t(text));
}

}  // namespace qwill
