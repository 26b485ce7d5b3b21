#include "server/api_server.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <ctime>
#include <future>
#include <random>
#include <thread>
#include <utility>

#include "base/error.h"
#include "server/openai_response.h"
#include "server/page.h"

namespace qwill {
namespace {

constexpr int kWorkers = 4;       // read bodies, tokenize, put answers together
constexpr int kHeavyWorkers = 2;  // the same of large bodies, so that small ones do not wait for them
constexpr size_t kHeavyBytes = 256 << 10;
constexpr int64_t kMaxValues = 1 << 20;  // of a body: each takes some 100 bytes once it is read

uint64_t random_seed() {
  thread_local std::random_device device;
  return (uint64_t{device()} << 32) ^ device();
}

// Values of a JSON text, at most: each but the first follows one of these, outside of strings.
int64_t count_values(std::string_view json) {
  int64_t count = 1;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string && c == '\\') ++i;
    if (c == '"') in_string = !in_string;
    if (!in_string && (c == ',' || c == ':' || c == '[')) ++count;
  }
  return count;
}

// A request's body as JSON. Throws RequestError.
Json read_body(http::Request& request) {
  const std::string body = std::exchange(request.body, {});
  if (count_values(body) > kMaxValues)
    throw RequestError("", "invalid_value", fmt::format("the body: more than {} values", kMaxValues));
  try {
    return Json::parse(body);
  } catch (const Error& e) {
    throw RequestError("", "invalid_json", fmt::format("the body: {}", e.what()));
  }
}

// "Thu, 26 Nov 2026 08:49:37 GMT" (RFC 9110, 5.6.7), made once a second.
std::string http_date() {
  thread_local std::time_t made = 0;
  thread_local char text[32];
  if (const std::time_t now = std::time(nullptr); now != made) {
    made = now;
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  }
  return text;
}

std::string time_text() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:03}Z", text, ms);
}

}  // namespace

ApiServer::ApiServer(const ServerOptions& options)
    : options_(options),
      access_(options.api_keys, options.origins),
      http_(options.limits, options.http_threads, *this),
      workers_(kWorkers),
      heavy_workers_(kHeavyWorkers),
      later_([this](std::function<void()> f) { boost::asio::post(workers_, std::move(f)); }) {
  add_routes();
}

// The order matters: no new requests, then none that a worker still begins, then the engines, whose answers hold on to
// connections, and last the connections.
ApiServer::~ApiServer() {
  http_.close(std::chrono::milliseconds(0));
  workers_.join();
  heavy_workers_.join();
  loaded_ = false;
  readiness_.reset();
  models_.clear();
}

int ApiServer::listen(const std::string& host, int port) { return http_.listen(host, port); }

void ApiServer::serve(std::vector<std::unique_ptr<ServedModel>> models) {
  CHECK(!models.empty() && !loaded_, "models are given once");
  models_ = std::move(models);
  std::vector<Engine*> engines;
  for (const auto& model : models_) engines.push_back(&model->llm->engine());
  readiness_.emplace(std::move(engines));
  loaded_ = true;
}

bool ApiServer::drain(std::chrono::milliseconds time) {
  constexpr auto kTelling = std::chrono::milliseconds(2000);  // for the last answers to be written
  constexpr auto kStopping = std::chrono::seconds(5);         // for engines to end their steps
  // A connection that is kept may carry a request at this moment: it is told. And a router gets to see /ready.
  constexpr auto kLeast = std::chrono::milliseconds(1000);
  draining_ = true;
  http_.drain();
  const auto begin = std::chrono::steady_clock::now();
  const auto is_over = [&] {
    const auto passed = std::chrono::steady_clock::now() - begin;
    if (passed >= time) return true;
    return http_.num_exchanges() == 0 && (passed >= kLeast || http_.num_connections() == 0);
  };
  while (!is_over()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  // Not waited for without end: a step may be stuck.
  auto stopped = std::make_shared<std::promise<void>>();
  std::future<void> stop = stopped->get_future();
  std::thread([this, stopped] {
    for (const auto& model : models_) model->llm->engine().stop();
    stopped->set_value();
  }).detach();
  const bool all_stopped = stop.wait_for(kStopping) == std::future_status::ready;
  http_.close(kTelling);
  return all_stopped;
}

// ------------------------------------------------------------------------------------------------ HTTP

void ApiServer::add_route(const std::string& method, const std::string& path, Route route) {
  routes_[path][method] = std::move(route);
}

const std::pair<const std::string, ApiServer::Methods>* ApiServer::find_path(const std::string& path) const {
  if (const auto exact = routes_.find(path); exact != routes_.end()) return &*exact;
  for (const auto& one : routes_)
    if (one.first.size() > 1 && one.first.ends_with('/') && path.starts_with(one.first)) return &one;
  return nullptr;
}

std::optional<http::Response> ApiServer::refuse(const http::Request& head) {
  if (head.method == "OPTIONS" && head.path == "*") return http::Response{.status = 204, .body = {}};
  const auto* path = find_path(head.path);
  if (!path) return error_response(ApiError(404, "not_found", fmt::format("there is no {}", printable(head.path))));
  std::string methods;
  for (const auto& [method, route] : path->second) methods += method == "GET" ? "GET, HEAD, " : method + ", ";
  methods += "OPTIONS";
  if (head.method == "OPTIONS") return http::Response{.status = 204, .body = {}, .headers = {{"Allow", methods}}};
  const std::string method = head.method == "HEAD" ? "GET" : head.method;
  const auto found = path->second.find(method);
  if (found == path->second.end()) {
    http::Response response = error_response(
        ApiError(405, "method_not_allowed", fmt::format("{} takes {}, not {}", path->first, methods, method)));
    response.headers.emplace_back("Allow", methods);
    return response;
  }
  if (!access_.allows_origin(head.headers))
    return error_response(
        ApiError(403, "origin_not_allowed", "pages of this origin may not ask: see qwill serve --cors-origin"));
  if (found->second.open) return std::nullopt;
  if (!access_.has_key(head.headers)) {
    http::Response response =
        error_response(ApiError(401, "invalid_api_key", "a valid API key is needed: \"Authorization: Bearer KEY\""));
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
    return response;
  }
  if (draining_) return error_response(ApiError(503, "shutting_down", "the server is shutting down"));
  if (!loaded_) return error_response(ApiError(503, "loading", "the model is being loaded: try again in a moment"));
  return std::nullopt;
}

void ApiServer::handle(std::shared_ptr<http::Exchange> exchange) {
  const std::string method = exchange->request.method == "HEAD" ? "GET" : exchange->request.method;
  const Route& route = find_path(exchange->request.path)->second.at(method);
  if (route.quick) return answer(route.answer, exchange);
  auto& pool = exchange->request.body.size() > kHeavyBytes ? heavy_workers_ : workers_;
  boost::asio::post(pool, [this, &route, exchange] { answer(route.answer, exchange); });
}

// What goes wrong with one request is that request's answer.
void ApiServer::answer(const Answer& answer, const std::shared_ptr<http::Exchange>& exchange) {
  try {
    answer(exchange);
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::busy)
      exchange->respond(error_response(draining_ ? ApiError(503, "shutting_down", "the server is shutting down")
                                                 : ApiError(429, "too_many_requests", e.what())));
    else
      exchange->respond(error_response(e));
  } catch (const std::exception& e) {
    exchange->respond(error_response(ApiError(500, "internal_error", e.what())));
  }
}

http::Response ApiServer::error(int status, const std::string& message) {
  return error_response(ApiError(status, "", message));
}

void ApiServer::add_headers(const http::Request* request, http::Headers& headers) {
  headers.emplace_back("Date", http_date());
  headers.emplace_back("Server", "qwill/" QWILL_VERSION);
  headers.emplace_back("X-Content-Type-Options", "nosniff");
  headers.emplace_back("X-Request-Id", request->id);
  access_.add_cors_headers(request->headers, headers);
}

void ApiServer::finished(const http::Exchange& exchange, const http::Outcome& outcome) {
  const http::Request& request = exchange.request;
  const auto* path = find_path(request.path);
  const bool known = path && (path->second.contains(request.method) || request.method == "HEAD");
  http_metrics_.count(known ? request.method : "other", path ? path->first : "other", outcome.status);
  if (!options_.log_requests) return;
  if (path && path->second.begin()->second.quick && outcome.status < 400) return;  // probes, and the page's files
  Json line = Json::object();
  line.set("time", time_text())
      .set("event", "request")
      .set("id", request.id)
      .set("peer", request.peer)
      .set("method", printable(request.method))
      .set("path", printable(request.path, 200))
      .set("status", outcome.status)
      .set("complete", outcome.complete)
      .set("bytes", outcome.body_bytes)
      .set("seconds", Json::number_text(fmt::format("{:.4f}", outcome.seconds)));
  const Json notes = exchange.notes();
  for (const auto& [name, value] : notes.as_object()) line.set(name, value);
  log_.line(line.dump());
}

// ------------------------------------------------------------------------------------------------ routes

void ApiServer::add_routes() {
  using Exchange = std::shared_ptr<http::Exchange>;
  for (const auto& [path, endpoint] : kEndpoints)
    add_route("POST", std::string(path),
              {[this, endpoint = endpoint](const Exchange& e) { answer_generation(endpoint, e); }});

  const auto json = [](const Exchange& e, const Json& body) { e->respond({.body = body.dump()}); };
  add_route("POST", "/tokenize", {[this, json](const Exchange& e) { json(e, tokenize(read_body(e->request))); }});
  add_route("POST", "/detokenize", {[this, json](const Exchange& e) { json(e, detokenize(read_body(e->request))); }});
  add_route("GET", "/v1/models", {[this, json](const Exchange& e) { json(e, models_json()); }, false, true});
  add_route("GET", "/v1/models/",
            {[this, json](const Exchange& e) {
               const std::string name = e->request.path.substr(std::string_view("/v1/models/").size());
               if (name.empty()) throw ApiError(404, "model_not_found", "a model has a name: see /v1/models");
               json(e, model_json(model_named(name)));
             },
             false, true});

  add_route("GET", "/health",
            {[this](const Exchange& e) {
               if (loaded_ && readiness_->failed()) throw ApiError(503, "failed", readiness_->trouble());
               e->respond({.body = R"({"status":"ok"})"});
             },
             true, true});
  add_route("GET", "/ready", {[this](const Exchange& e) { e->respond(ready()); }, true, true});
  add_route(
      "GET", "/metrics",
      {[this](const Exchange& e) { e->respond({.content_type = "text/plain; version=0.0.4", .body = metrics()}); },
       false, true});
  for (const PageFile& file : page_files())
    add_route("GET", file.path, {[response = file.response](const Exchange& e) { e->respond(response); }, true, true});
}

http::Response ApiServer::ready() const {
  std::string trouble;
  if (draining_)
    trouble = "the server is shutting down";
  else if (!loaded_)
    trouble = "the model is being loaded";
  else
    trouble = readiness_->trouble();
  if (trouble.empty()) return {.body = R"({"status":"ready"})"};
  return error_response(ApiError(503, "not_ready", trouble));
}

std::string ApiServer::metrics() const {
  MetricsText text;
  for (const auto& model : models_) text.add_model(model->name, model->llm->engine().stats(), model->metrics);
  return text.finish(http_metrics_, http_.num_connections());
}

// ------------------------------------------------------------------------------------------------ models

ServedModel& ApiServer::model_named(const std::string& name) {
  if (name.empty()) return *models_.front();
  for (const auto& model : models_)
    if (model->name == name) return *model;
  throw ApiError(404, "model_not_found", fmt::format("there is no model \"{}\": see /v1/models", printable(name)));
}

Json ApiServer::model_json(const ServedModel& model) {
  Json json = Json::object();
  return json.set("id", model.name)
      .set("object", "model")
      .set("created", model.created)
      .set("owned_by", "qwill")
      .set("max_model_len", model.llm->engine().max_seq_len());
}

Json ApiServer::models_json() const {
  Json list = Json::array();
  for (const auto& model : models_) list.push_back(model_json(*model));
  Json body = Json::object();
  return body.set("object", "list").set("data", std::move(list));
}

void ApiServer::answer_generation(Endpoint endpoint, const std::shared_ptr<http::Exchange>& exchange) {
  const Json body = read_body(exchange->request);
  ServedModel& model = model_named(read_model_name(body));
  ApiRequest request = read_api_request(*model.llm, endpoint, body, random_seed());
  request.form.model = model.name;
  const int64_t most = model.llm->engine().max_open();
  if (std::ssize(request.requests) > most)
    throw RequestError(
        "n", "invalid_value",
        fmt::format("n: {} answers in all, and {} fit this server at once", request.requests.size(), most));
  if (!options_.allow_priority)
    for (GenerateRequest& one : request.requests) one.priority = 0;
  if (options_.request_time)
    for (GenerateRequest& one : request.requests) one.deadline = exchange->request.received + *options_.request_time;
  generate(exchange, model, std::move(request), later_);
}

// {"model", "prompt"} or {"model", "messages", …} -> {"count", "max_model_len", "tokens"}
Json ApiServer::tokenize(const Json& body) {
  ServedModel& model = model_named(read_model_name(body));
  const std::vector<int32_t> ids = read_tokenized(*model.llm, body);
  Json tokens = Json::array();
  for (const int32_t id : ids) tokens.push_back(id);
  Json answer = Json::object();
  return answer.set("count", static_cast<int64_t>(ids.size()))
      .set("max_model_len", model.llm->engine().max_seq_len())
      .set("tokens", std::move(tokens));
}

// {"model", "tokens"} -> {"prompt"}
Json ApiServer::detokenize(const Json& body) {
  ServedModel& model = model_named(read_model_name(body));
  const std::vector<int32_t> ids = read_detokenized(*model.llm, body);
  Json answer = Json::object();
  return answer.set("prompt", model.llm->decode(ids));
}

}  // namespace qwill
