// qwill serve: OpenAI's API, what operators ask for, and a page for people, over HTTP.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "http/http_server.h"
#include "server/access.h"
#include "server/generation.h"
#include "server/metrics.h"
#include "server/readiness.h"
#include "server/served_model.h"

namespace qwill {

struct ServerOptions {
  http::Limits limits;
  int http_threads = 2;
  std::vector<std::string> api_keys, origins;        // as Access takes them
  std::optional<std::chrono::seconds> request_time;  // from a request's head to its last token
  bool log_requests = true;
  bool allow_priority = false;  // else the "priority" of requests is ignored: it may take the place of others
};

class ApiServer final : public http::Handler {
 public:
  explicit ApiServer(const ServerOptions& options);
  ~ApiServer() override;

  // The port is bound, and requests are told that the models are being loaded. As http::Server::listen.
  int listen(const std::string& host, int port);
  // From here on requests are answered. Called once; the first model answers requests that name none.
  void serve(std::vector<std::unique_ptr<ServedModel>> models);
  // No more requests are taken. Those under way are answered until `time` has passed, then told that the server ends.
  // False if an engine is stuck: then this cannot be destroyed, and the process is best ended.
  bool drain(std::chrono::milliseconds time);
  // A line in the log.
  void say(const std::string& text) { log_.line(text); }

  // What answers a kind of request. Errors that it throws become answers.
  using Answer = std::function<void(const std::shared_ptr<http::Exchange>&)>;
  struct Route {
    Answer answer;
    bool open = false;   // needs no API key
    bool quick = false;  // takes no time: answered at once, however busy the server is
  };
  // Before listen. A path that ends with "/" stands for all below it.
  void add_route(const std::string& method, const std::string& path, Route route);

  std::optional<http::Response> refuse(const http::Request& head) override;
  void handle(std::shared_ptr<http::Exchange> exchange) override;
  http::Response error(int status, const std::string& message) override;
  void add_headers(const http::Request* request, http::Headers& headers) override;
  void finished(const http::Exchange& exchange, const http::Outcome& outcome) override;

 private:
  using Methods = std::map<std::string, Route>;
  const std::pair<const std::string, Methods>* find_path(const std::string& path) const;
  void answer(const Answer& answer, const std::shared_ptr<http::Exchange>& exchange);
  void add_routes();
  void add_page();

  ServedModel& model_named(const std::string& name);
  void answer_generation(Endpoint endpoint, const std::shared_ptr<http::Exchange>& exchange);
  static Json model_json(const ServedModel& model);
  Json models_json() const;
  Json tokenize(const Json& body);
  Json detokenize(const Json& body);
  http::Response ready() const;
  std::string metrics() const;

  const ServerOptions options_;
  const Access access_;
  std::map<std::string, Methods> routes_;
  HttpMetrics http_metrics_;
  Log log_;
  std::vector<std::unique_ptr<ServedModel>> models_;
  std::optional<Readiness> readiness_;
  std::atomic<bool> loaded_ = false, draining_ = false;
  http::Server http_;
  boost::asio::thread_pool workers_, heavy_workers_;
  Later later_;
};

}  // namespace qwill
