#include "server/readiness.h"

#include <algorithm>

namespace qwill {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(3500), kPeriod = std::chrono::milliseconds(200);

}  // namespace

Readiness::Readiness(std::vector<Engine*> engines) {
  for (Engine* engine : engines) watched_.push_back({.engine = engine});
  thread_ = std::thread([this] { watch(); });
}

Readiness::~Readiness() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ending_.notify_one();
  thread_.join();
}

void Readiness::watch() {
  std::unique_lock lock(mutex_);
  while (!ending_.wait_for(lock, kPeriod, [&] { return end_; })) {
    const auto now = Clock::now();
    for (Watched& one : watched_) {
      const int64_t progress = one.engine->progress();
      if (!one.engine->busy() || progress != one.progress) one.changed = now;
      one.progress = progress;
      one.stuck = now - one.changed > kPatience;
    }
  }
}

std::string Readiness::trouble() const {
  const std::lock_guard lock(mutex_);
  for (const Watched& one : watched_) {
    if (const std::string failure = one.engine->failure(); !failure.empty()) return "the device failed: " + failure;
    if (one.stuck) return "a step of the engine does not end";
  }
  return "";
}

bool Readiness::failed() const {
  return std::ranges::any_of(watched_, [](const Watched& one) { return !one.engine->failure().empty(); });
}

}  // namespace qwill
