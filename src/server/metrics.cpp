#include "server/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <vector>

namespace qwill {
namespace {

std::string escape(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

int64_t resident_bytes() {
  int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

void Histogram::observe(double seconds) {
  const auto bucket = std::ranges::lower_bound(kBounds, seconds) - kBounds.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(seconds, std::memory_order_relaxed);
}

void HttpMetrics::count(const std::string& method, const std::string& route, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{method, route, status}];
}

std::string& MetricsText::samples(const std::string& name, std::string_view type, std::string_view help) {
  Family& family = families_["qwill_" + name];
  family.type = type;
  family.help = help;
  return family.samples;
}

void MetricsText::histogram(const std::string& name, std::string_view help, const std::string& labels,
                            std::span<const double> bounds, std::span<const int64_t> counts, double sum) {
  std::string& out = samples(name, "histogram", help);
  int64_t total = 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    total += counts[i];
    out += fmt::format("qwill_{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bounds[i], total);
  }
  total += counts[bounds.size()];
  out += fmt::format("qwill_{0}_bucket{{{1},le=\"+Inf\"}} {2}\nqwill_{0}_sum{{{1}}} {3}\nqwill_{0}_count{{{1}}} {2}\n",
                     name, labels, total, sum);
}

void MetricsText::histogram(const std::string& name, std::string_view help, const std::string& labels,
                            const Histogram& values) {
  std::vector<int64_t> counts(values.counts_.begin(), values.counts_.end());
  histogram(name, help, labels, Histogram::kBounds, counts, values.sum_);
}

void MetricsText::add_model(const std::string& name, const EngineStats& engine, const ModelMetrics& metrics) {
  const std::string labels = fmt::format("model=\"{}\"", escape(name));
  const auto value = [&](const std::string& metric, std::string_view type, std::string_view help, int64_t number) {
    samples(metric, type, help) += fmt::format("qwill_{}{{{}}} {}\n", metric, labels, number);
  };
  const auto counter = [&](const std::string& metric, std::string_view help, int64_t number) {
    value(metric, "counter", help, number);
  };
  const auto gauge = [&](const std::string& metric, std::string_view help, int64_t number) {
    value(metric, "gauge", help, number);
  };
  counter("prompt_tokens_total", "Prompt tokens of the sequences that began.", engine.prompt_tokens);
  counter("prefix_cache_hit_tokens_total", "Prompt tokens taken from the prefix cache.", engine.prefix_hit_tokens);
  counter("generation_tokens_total", "Tokens drawn.", engine.output_tokens);
  counter("sequences_finished_total", "Sequences that ended, however.", engine.finished);
  counter("preemptions_total", "Sequences that lost their place, and began again.", engine.preempted);
  counter("requests_aborted_total", "Requests whose client went away.", metrics.requests_aborted);
  counter("requests_failed_total", "Requests that ended with an error of the server's.", metrics.requests_failed);
  gauge("requests_running", "Sequences that run.", engine.running);
  gauge("requests_waiting", "Sequences that wait.", engine.waiting);
  gauge("kv_pages_total", "Pages of the key/value cache.", engine.num_pages);
  gauge("kv_pages_used", "Pages that sequences use.", engine.num_pages - engine.free_pages - engine.cached_pages);
  gauge("kv_pages_cached", "Pages that hold cached prefixes and are free when needed.", engine.cached_pages);
  histogram("time_to_first_token_seconds", "From a request's head to its first token.", labels,
            metrics.time_to_first_token);
  histogram("inter_token_latency_seconds", "Between two tokens of an answer.", labels, metrics.inter_token_latency);
  histogram("e2e_request_latency_seconds", "From a request's head to its last token.", labels,
            metrics.e2e_request_latency);
  histogram("step_seconds", "Steps of the engine.", labels, StepTimes::kBounds, engine.step_times.counts,
            engine.step_times.total_s);
}

std::string MetricsText::finish(const HttpMetrics& http, int64_t num_connections) {
  {
    std::string& out =
        samples("http_requests_total", "counter", "Requests that were answered; 0: the client had gone.");
    const std::lock_guard lock(http.mutex_);
    for (const auto& [key, count] : http.requests_)
      out += fmt::format("qwill_http_requests_total{{method=\"{}\",path=\"{}\",status=\"{}\"}} {}\n",
                         escape(std::get<0>(key)), escape(std::get<1>(key)), std::get<2>(key), count);
  }
  samples("http_connections", "gauge", "Connections that are open.") =
      fmt::format("qwill_http_connections {}\n", num_connections);
  samples("resident_memory_bytes", "gauge", "Memory of the process.") =
      fmt::format("qwill_resident_memory_bytes {}\n", resident_bytes());
  std::string text;
  for (const auto& [name, family] : families_)
    text += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{3}", name, family.help, family.type, family.samples);
  return text;
}

}  // namespace qwill
