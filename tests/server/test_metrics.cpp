#include <gtest/gtest.h>

#include "server/metrics.h"

namespace qwill {
namespace {

TEST(Metrics, AreWrittenAsPrometheusReadsThem) {
  ModelMetrics metrics;
  metrics.time_to_first_token.observe(0.001);  // a bound belongs to its bucket
  metrics.time_to_first_token.observe(0.3);
  metrics.time_to_first_token.observe(1e9);
  EngineStats engine;
  engine.num_pages = 10;
  engine.free_pages = 3;
  engine.cached_pages = 2;
  HttpMetrics http;
  http.count("GET", "/a\"b", 200);
  http.count("GET", "/a\"b", 200);
  MetricsText text;
  text.add_model("a\\b", engine, metrics);
  text.add_model("c", engine, metrics);
  const std::string all = text.finish(http, 5);
  for (const char* line : {
           "# TYPE qwill_time_to_first_token_seconds histogram\n",
           "qwill_time_to_first_token_seconds_bucket{model=\"a\\\\b\",le=\"0.001\"} 1\n",
           "qwill_time_to_first_token_seconds_bucket{model=\"a\\\\b\",le=\"0.25\"} 1\n",
           "qwill_time_to_first_token_seconds_bucket{model=\"c\",le=\"0.5\"} 2\n",
           "qwill_time_to_first_token_seconds_bucket{model=\"c\",le=\"+Inf\"} 3\n",
           "qwill_time_to_first_token_seconds_count{model=\"c\"} 3\n",
           "qwill_kv_pages_used{model=\"c\"} 5\n",
           "qwill_http_requests_total{method=\"GET\",path=\"/a\\\"b\",status=\"200\"} 2\n",
           "qwill_http_connections 5\n",
       })
    EXPECT_NE(all.find(line), std::string::npos) << line << all;
  // A family's samples stand together, below one description.
  EXPECT_EQ(all.find("# TYPE qwill_kv_pages_used"), all.rfind("# TYPE qwill_kv_pages_used"));
}

}  // namespace
}  // namespace qwill
