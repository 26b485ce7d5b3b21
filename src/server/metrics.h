// What a server counts, and how Prometheus reads it (text format 0.0.4).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include "qwill/engine.h"

namespace qwill {

// Seconds by size.
class Histogram {
 public:
  static constexpr std::array<double, 18> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                     1,     2.5,    5,     10,   20,    40,   80,  160,  320};
  void observe(double seconds);

 private:
  friend class MetricsText;
  std::array<std::atomic<int64_t>, kBounds.size() + 1> counts_ = {};
  std::atomic<double> sum_ = 0;
};

// Of one model, beside what its engine counts.
struct ModelMetrics {
  Histogram time_to_first_token, inter_token_latency, e2e_request_latency;
  std::atomic<int64_t> requests_aborted = 0;  // the client was gone
  std::atomic<int64_t> requests_failed = 0;
};

class HttpMetrics {
 public:
  void count(const std::string& method, const std::string& route, int status);

 private:
  friend class MetricsText;
  mutable std::mutex mutex_;
  std::map<std::tuple<std::string, std::string, int>, int64_t> requests_;
};

// Collects the text: metrics of all models first, then finish.
class MetricsText {
 public:
  void add_model(const std::string& name, const EngineStats& engine, const ModelMetrics& metrics);
  std::string finish(const HttpMetrics& http, int64_t num_connections);

 private:
  struct Family {
    std::string_view type, help;
    std::string samples;
  };
  std::string& samples(const std::string& name, std::string_view type, std::string_view help);
  void histogram(const std::string& name, std::string_view help, const std::string& labels,
                 std::span<const double> bounds, std::span<const int64_t> counts, double sum);
  void histogram(const std::string& name, std::string_view help, const std::string& labels, const Histogram& values);

  std::map<std::string, Family> families_;
};

}  // namespace qwill
