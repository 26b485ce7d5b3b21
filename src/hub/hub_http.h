// HTTP exchanges, many at once on one thread, through libcurl. Only http and https; redirects are followed here, so
// that the token meets the hub's own host and no other.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "hub/http_headers.h"

namespace qwill {

struct ByteRange {
  int64_t begin = 0, end = 0;
};

struct HttpRequest {
  std::string url;
  bool head = false;  // no body
  std::optional<ByteRange> range;
  bool only_own_host = false;  // a redirect to another host is an answer, not followed
};

struct HttpAnswer {
  int status = 0;
  HttpHeaders headers;
  HttpHeaders first_headers;  // of the first answer, where redirects were followed
  std::string url;            // where the answer came from; of a redirect that was not followed, where it leads
  std::string failure;        // why there is no whole answer; empty: there is
  bool may_pass = false;      // a failure that another attempt may not meet
  int64_t retry_after_s = 0;  // what the server asked for
};

// Thrown out of HttpClient::poll once its cancel flag is set.
struct HttpCancelled {};

class HttpClient {
 public:
  // Takes a piece of the body, with what is known of the answer by then; false ends the exchange, for the reason that
  // was put into answer.failure. Bodies of redirects and errors are not read.
  using OnBody = std::function<bool(HttpAnswer& answer, std::string_view data)>;
  using OnEnd = std::function<void(HttpAnswer answer)>;

  // token goes with requests to endpoint's host, scheme and port alone; may be empty. Throws Error(unsupported) without
  // libcurl, Error(invalid) for an endpoint that is no http or https address.
  HttpClient(const std::string& endpoint, const std::string& token, const std::atomic<bool>* cancel);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // The callbacks are called from poll.
  void start(HttpRequest request, OnBody on_body, OnEnd on_end);
  // Moves all exchanges on, waiting for the network a little. Throws HttpCancelled, and what callbacks throw.
  void poll();
  size_t num_active() const { return exchanges_.size(); }
  // Whether any server has answered anything yet.
  bool has_been_answered() const { return has_been_answered_; }
  bool is_own_host(const std::string& url) const;

 private:
  struct Exchange;
  struct Multi;

  void send(Exchange& exchange);
  void finish(Exchange& exchange, int curl_code);
  bool follow(Exchange& exchange, const std::string& target);

  std::string origin_, token_;
  const std::atomic<bool>* cancel_;
  bool has_been_answered_ = false;
  std::unique_ptr<Multi> multi_;
  std::unordered_map<void*, std::unique_ptr<Exchange>> exchanges_;  // by libcurl's handle
};

// When, if at all, something that failed is tried again.
class Retry {
 public:
  // Counts a failure. False if that was one too many; the answer's failure says why then.
  bool after(HttpAnswer& answer, bool has_been_answered);
  // What was got since is worth new patience.
  void forgive() { failures_ = 0; }
  bool is_due() const { return std::chrono::steady_clock::now() >= not_before_; }

 private:
  int failures_ = 0;
  std::chrono::steady_clock::time_point not_before_;
};

}  // namespace qwill
