#include "hub/hub_http.h"

#include <algorithm>
#include <cctype>
#include <exception>
#include <new>
#include <thread>
#include <utility>

#include "base/error.h"
#include "hub/curl.h"

namespace qwill {
namespace {

using std::chrono::milliseconds;

constexpr int kMaxRedirects = 10;
constexpr long kConnectTimeoutS = 20;
// Less than this for so long is a connection that has died without saying so.
constexpr long kStalledBytesPerS = 256, kStalledS = 20;
constexpr long kReceiveBufferBytes = 256 << 10;
constexpr size_t kMostUnwantedBytes = size_t{64} << 10;
constexpr int kPollMs = 50;

constexpr int kMaxFailures = 6, kMaxFailuresUnanswered = 2;
constexpr milliseconds kFirstDelay{500}, kLongestDelay{30000};
constexpr int64_t kLongestRetryAfterS = 300;

// Scheme, host and port; empty for what is no http or https address.
std::string origin_of(const std::string& address) {
  const Curl& curl = Curl::get();
  const std::unique_ptr<CURLU, decltype(curl.url_cleanup)> url(curl.url(), curl.url_cleanup);
  const auto part = [&](CURLUPart which) -> std::string {
    char* text = nullptr;
    if (curl.url_get(url.get(), which, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return {};
    std::string out(text);
    curl.free(text);
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
    return out;
  };
  if (!url || curl.url_set(url.get(), CURLUPART_URL, address.c_str(), 0) != CURLUE_OK) return {};
  const std::string scheme = part(CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return {};
  return fmt::format("{}://{}:{}", scheme, part(CURLUPART_HOST), part(CURLUPART_PORT));
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Of a redirect and of an error the headers say enough.
bool is_body_wanted(int status) { return status < 300; }

// What may go better the next time: anything about a connection, but not a name or an address that is wrong.
bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return true;
    default: return false;
  }
}

}  // namespace

struct HttpClient::Multi {
  CURLM* handle = Curl::get().multi_init();
  ~Multi() { Curl::get().multi_cleanup(handle); }
};

struct HttpClient::Exchange {
  HttpRequest request;
  OnBody on_body;
  OnEnd on_end;
  HttpAnswer answer;
  int redirects = 0;
  size_t unwanted_bytes = 0;
  CURLM* multi = nullptr;
  CURL* easy = nullptr;
  curl_slist* sent_headers = nullptr;
  char error[CURL_ERROR_SIZE] = "";
  std::exception_ptr thrown;  // by a callback: it must not pass through libcurl

  // Lets go of libcurl's handle; the connection is kept for others.
  void close() {
    const Curl& curl = Curl::get();
    if (easy) {
      curl.multi_remove_handle(multi, easy);
      curl.easy_cleanup(easy);
    }
    if (sent_headers) curl.slist_free_all(sent_headers);
    easy = nullptr;
    sent_headers = nullptr;
  }
  ~Exchange() { close(); }

  static size_t take_header(char* data, size_t, size_t size, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    if (exchange.answer.headers.add_line({data, size})) return size;
    exchange.answer.failure = "the headers of the answer do not end";
    return 0;
  }

  static size_t take_body(char* data, size_t, size_t size, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    try {
      return exchange.take({data, size}) ? size : 0;
    } catch (...) {
      exchange.thrown = std::current_exception();
      return 0;
    }
  }

  bool take(std::string_view data) {
    long status = 0;
    Curl::get().easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    answer.status = static_cast<int>(status);
    if (!is_body_wanted(answer.status)) return (unwanted_bytes += data.size()) <= kMostUnwantedBytes;
    return on_body(answer, data);
  }
};

HttpClient::HttpClient(const std::string& endpoint, const std::string& token, const std::atomic<bool>* cancel)
    : origin_(origin_of(endpoint)), token_(token), cancel_(cancel), multi_(std::make_unique<Multi>()) {
  if (origin_.empty()) fail_invalid("HF_ENDPOINT: \"{}\" is no http or https address", printable(endpoint, 200));
  const bool plain = std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!plain) fail_invalid("the hub's token has characters that none has (HF_TOKEN, or the file \"token\" in HF_HOME)");
}

HttpClient::~HttpClient() { exchanges_.clear(); }

bool HttpClient::is_own_host(const std::string& url) const { return origin_of(url) == origin_; }

void HttpClient::start(HttpRequest request, OnBody on_body, OnEnd on_end) {
  auto exchange = std::make_unique<Exchange>();
  exchange->answer.url = request.url;
  exchange->request = std::move(request);
  exchange->on_body = std::move(on_body);
  exchange->on_end = std::move(on_end);
  exchange->multi = multi_->handle;
  send(*exchange);
  void* key = exchange->easy;
  exchanges_.emplace(key, std::move(exchange));
}

// Sends the request to answer.url, where redirects have led.
void HttpClient::send(Exchange& exchange) {
  const Curl& curl = Curl::get();
  exchange.easy = curl.easy_init();
  if (!exchange.easy) throw std::bad_alloc();
  const auto set = [&](CURLoption option, auto value) {
    const CURLcode code = curl.easy_setopt(exchange.easy, option, value);
    CHECK(code == CURLE_OK, "libcurl refuses an option");
  };
  set(CURLOPT_URL, exchange.answer.url.c_str());
  set(CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, kConnectTimeoutS);
  set(CURLOPT_LOW_SPEED_LIMIT, kStalledBytesPerS);
  set(CURLOPT_LOW_SPEED_TIME, kStalledS);
  set(CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
  // Several connections are the point of several requests; HTTP/2 would put them all on one.
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_USERAGENT, "qwill/" QWILL_VERSION);
  set(CURLOPT_ERRORBUFFER, exchange.error);
  set(CURLOPT_HEADERFUNCTION, &Exchange::take_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&exchange));
  set(CURLOPT_WRITEFUNCTION, &Exchange::take_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&exchange));
  set(CURLOPT_PRIVATE, static_cast<void*>(&exchange));
  if (exchange.request.head) set(CURLOPT_NOBODY, 1L);
  const auto add_header = [&](const std::string& line) {
    exchange.sent_headers = curl.slist_append(exchange.sent_headers, line.c_str());
  };
  add_header("Accept-Encoding: identity");
  if (!token_.empty() && is_own_host(exchange.answer.url)) add_header("Authorization: Bearer " + token_);
  if (exchange.request.range)
    add_header(fmt::format("Range: bytes={}-{}", exchange.request.range->begin, exchange.request.range->end - 1));
  set(CURLOPT_HTTPHEADER, exchange.sent_headers);
  const CURLMcode code = curl.multi_add_handle(exchange.multi, exchange.easy);
  CHECK(code == CURLM_OK, "libcurl takes no more requests");
}

// Whether the exchange goes on where a redirect leads. If not, its answer says why.
bool HttpClient::follow(Exchange& exchange, const std::string& target) {
  HttpAnswer& answer = exchange.answer;
  const std::string origin = origin_of(target);
  if (origin.empty()) {
    answer.failure = fmt::format("a redirect to \"{}\", which is no http or https address", printable(target, 100));
    return false;
  }
  if (origin_of(answer.url).starts_with("https:") && origin.starts_with("http:")) {
    answer.failure = fmt::format("a redirect from https to \"{}\"", printable(target, 100));
    return false;
  }
  answer.url = target;
  if (exchange.request.only_own_host && origin != origin_) return false;
  if (++exchange.redirects > kMaxRedirects) {
    answer.failure = fmt::format("more than {} redirects", kMaxRedirects);
    return false;
  }
  if (exchange.redirects == 1) answer.first_headers = answer.headers;
  answer.headers = {};
  answer.status = 0;
  return true;
}

// Called when libcurl is done with an exchange, which is in exchanges_ no more.
void HttpClient::finish(Exchange& exchange, int curl_code) {
  const Curl& curl = Curl::get();
  HttpAnswer& answer = exchange.answer;
  const auto code = static_cast<CURLcode>(curl_code);
  if (exchange.thrown) std::rethrow_exception(exchange.thrown);
  long status = 0;
  curl_off_t retry_after = 0;
  char* target = nullptr;
  curl.easy_getinfo(exchange.easy, CURLINFO_RESPONSE_CODE, &status);
  curl.easy_getinfo(exchange.easy, CURLINFO_RETRY_AFTER, &retry_after);
  curl.easy_getinfo(exchange.easy, CURLINFO_REDIRECT_URL, &target);
  const std::string redirect = target ? target : "";
  answer.status = static_cast<int>(status);
  answer.retry_after_s = retry_after;
  if (status > 0) has_been_answered_ = true;
  const bool redirected = is_redirect(answer.status);
  const bool left_alone = code == CURLE_WRITE_ERROR && !is_body_wanted(answer.status);
  if (code != CURLE_OK && !left_alone && answer.failure.empty()) {
    answer.failure = exchange.error[0] ? exchange.error : curl.easy_strerror(code);
    answer.may_pass = may_pass(code);
  }
  exchange.close();
  if (redirected && answer.failure.empty()) {
    if (redirect.empty()) {
      answer.failure = fmt::format("a redirect ({}) that leads nowhere", status);
    } else if (follow(exchange, redirect)) {
      send(exchange);
      return;
    }
  }
  exchange.on_end(std::move(answer));
}

void HttpClient::poll() {
  const Curl& curl = Curl::get();
  if (cancel_ && *cancel_) throw HttpCancelled{};
  int running = 0, descriptors = 0;
  CURLMcode code = curl.multi_perform(multi_->handle, &running);
  if (code == CURLM_OK && running > 0) code = curl.multi_wait(multi_->handle, nullptr, 0, kPollMs, &descriptors);
  if (code == CURLM_OK) code = curl.multi_perform(multi_->handle, &running);
  if (code != CURLM_OK) fail(ErrorKind::io, "libcurl: {}", curl.multi_strerror(code));
  int left = 0;
  bool any = false;
  while (const CURLMsg* message = curl.multi_info_read(multi_->handle, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    any = true;
    const CURLcode result = message->data.result;
    const auto found = exchanges_.find(message->easy_handle);
    CHECK(found != exchanges_.end(), "libcurl has ended an exchange that is ours");
    std::unique_ptr<Exchange> exchange = std::move(found->second);
    exchanges_.erase(found);
    finish(*exchange, result);
    if (exchange->easy) {
      void* key = exchange->easy;
      exchanges_.emplace(key, std::move(exchange));
    }
  }
  // libcurl does not wait while it has nothing to wait for: a name is being looked up, or nothing is under way.
  if (!any && descriptors == 0) std::this_thread::sleep_for(milliseconds(running > 0 ? 5 : 20));
}

bool Retry::after(HttpAnswer& answer, bool has_been_answered) {
  const int status = answer.status;
  const bool busy = answer.failure.empty() && (status == 408 || status == 429 || (status >= 500 && status <= 599));
  if (!busy && !answer.may_pass) return false;
  if (busy) answer.failure = fmt::format("HTTP status {}", status);
  if (++failures_ > (has_been_answered ? kMaxFailures : kMaxFailuresUnanswered)) {
    answer.failure += fmt::format(" (after {} attempts)", failures_);
    return false;
  }
  if (busy && answer.retry_after_s > kLongestRetryAfterS) {
    answer.failure += fmt::format(", and the server asks to come back in {} s", answer.retry_after_s);
    return false;
  }
  milliseconds delay = std::min(kFirstDelay * (1 << (failures_ - 1)), kLongestDelay);
  if (busy && answer.retry_after_s > 0) delay = std::chrono::seconds(answer.retry_after_s);
  not_before_ = std::chrono::steady_clock::now() + delay;
  return true;
}

}  // namespace qwill
