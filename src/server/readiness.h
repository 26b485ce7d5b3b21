// Watches whether engines get on with their work.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "qwill/engine.h"

namespace qwill {

class Readiness {
 public:
  explicit Readiness(std::vector<Engine*> engines);
  ~Readiness();
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  // Why no request should come now, in one line: a device failed, or an engine has work and has not got on with it for
  // 3.5 s, not by one task of an op. Empty: all is well.
  std::string trouble() const;
  // A device failed: only a new start helps.
  bool failed() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Watched {
    Engine* engine;
    int64_t progress = -1;
    Clock::time_point changed = Clock::now();
    bool stuck = false;
  };
  void watch();

  mutable std::mutex mutex_;
  std::condition_variable ending_;
  bool end_ = false;
  std::vector<Watched> watched_;
  std::thread thread_;
};

}  // namespace qwill
