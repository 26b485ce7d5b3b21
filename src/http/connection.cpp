#include "http/connection.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/status.hpp>
#include <utility>

#include "base/error.h"
#include "http/request_head.h"

namespace qwill::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kMaxAheadBytes = 64 << 10;   // that a client may send before it has its answer
constexpr int64_t kBytesForTime = 256 << 10;  // of a body, after which it gets body_time once more
constexpr size_t kKeptBytes = 256 << 10;      // of a buffer, from one answer to the next
constexpr size_t kMaxSkippedBytes = 16;       // of empty lines before a request
constexpr auto kLingerTime = std::chrono::seconds(3);

// A peer that is silent is asked after 10 s, and every 5; what it does not acknowledge for 20 s ends the connection. So
// one that has vanished is found within 30 s.
void set_options(Connection::Socket& socket) {
  const int descriptor = socket.native_handle();
  const auto set = [&](int level, int name, int value) { ::setsockopt(descriptor, level, name, &value, sizeof value); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 20000);
  error_code ignored;
  socket.non_blocking(true, ignored);
}

bool has_no_body(int status) { return status == 204 || status == 304; }

}  // namespace

// ------------------------------------------------------------------------------------------------ life

Connection::Connection(Socket socket, Common& common)
    : socket_(std::move(socket)),
      common_(common),
      timer_(socket_.get_executor()),
      write_timer_(socket_.get_executor()) {
  ++common_.num_connections;
}

Connection::~Connection() {
  common_.bodies_bytes -= counted_body_bytes_;
  if (counted_) --common_.num_connections;
}

template <typename F>
auto Connection::own(F f) {
  return [self = shared_from_this(), f = std::move(f)](auto&&... args) mutable {
    try {
      f(std::forward<decltype(args)>(args)...);
    } catch (const std::exception&) {  // no memory, say
      self->close();
    }
  };
}

void Connection::start() {
  set_options(socket_);
  enter(Phase::idle);
  read();
}

void Connection::turn_away() {
  counted_ = false;
  --common_.num_connections;
  set_options(socket_);
  keep_alive_ = false;
  refuse(503, "too many connections: try again later");
}

void Connection::close() {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  timer_.cancel();
  write_timer_.cancel();
  error_code ignored;
  socket_.close(ignored);
  if (exchange_) end_exchange(false);
}

void Connection::close_when_idle() {
  closing_ = true;
  if (phase_ == Phase::idle && !writing_) close();
}

void Connection::enter(Phase phase) {
  phase_ = phase;
  switch (phase) {
    case Phase::idle: return set_timer(common_.limits.idle_time);
    case Phase::head: return set_timer(common_.limits.head_time);
    case Phase::body: return set_timer(common_.limits.body_time);
    case Phase::lingering: return set_timer(kLingerTime);
    case Phase::busy:
    case Phase::closed: timer_.cancel(); return;
  }
}

void Connection::set_timer(std::chrono::steady_clock::duration time) {
  timer_.expires_after(time);
  timer_.async_wait(own([this](const error_code& error) {
    // A timer that was set again meanwhile has not expired.
    if (!error && timer_.expiry() <= std::chrono::steady_clock::now()) on_timer();
  }));
}

void Connection::on_timer() {
  switch (phase_) {
    case Phase::idle:
    case Phase::lingering: return close();
    case Phase::head: return refuse(408, "the request's head did not come in time");
    case Phase::body: return refuse(408, "the request's body did not come in time");
    case Phase::busy:
    case Phase::closed: return;
  }
}

// ------------------------------------------------------------------------------------------------ reading

// Waits for bytes, also while a request is answered: it tells when the client has gone. The buffer is touched only when
// they are there, since an answer that ends meanwhile may take from it.
void Connection::read() {
  if (reading_ || phase_ == Phase::closed) return;
  reading_ = true;
  socket_.async_wait(Socket::wait_read, own([this](const error_code& error) {
                       reading_ = false;
                       if (error) return close();
                       on_readable();
                     }));
}

void Connection::on_readable() {
  if (phase_ == Phase::closed) return;
  error_code error;
  const size_t size = socket_.read_some(buffer_.prepare(kReadBytes), error);
  if (error == asio::error::would_block) return read();
  if (error) return close();
  buffer_.commit(size);
  switch (phase_) {
    case Phase::idle:
      if (!skip_empty_lines()) return;
      if (buffer_.size() == 0) return read();  // still idle: an answer that nobody asked for would be taken for another
      enter(Phase::head);
      [[fallthrough]];
    case Phase::head:
    case Phase::body: return parse();
    case Phase::busy:
      if (buffer_.size() > kMaxAheadBytes) return close();
      return read();
    case Phase::lingering: buffer_.consume(buffer_.size()); return read();
    case Phase::closed: return;
  }
}

void Connection::parse() {
  while (phase_ == Phase::head || phase_ == Phase::body) {
    if (!parser_) {
      if (!skip_empty_lines()) return;
      if (buffer_.size() == 0) return read();
      parser_.emplace();
      parser_->header_limit(static_cast<uint32_t>(common_.limits.max_head_bytes));
      parser_->body_limit(static_cast<uint64_t>(common_.limits.max_body_bytes));
    }
    error_code error;
    const size_t used = parser_->put(buffer_.data(), error);
    buffer_.consume(used);
    if (error && error != beast::http::error::need_more) {
      if (error == beast::http::error::header_limit)
        return refuse(431, fmt::format("the request's head is longer than {} bytes", common_.limits.max_head_bytes));
      if (error == beast::http::error::body_limit)
        return refuse(413, fmt::format("the request's body is longer than {} bytes", common_.limits.max_body_bytes));
      return refuse(400, "this is not HTTP: " + error.message());
    }
    if (phase_ == Phase::head) {
      if (!parser_->is_header_done()) {
        if (buffer_.size() > static_cast<size_t>(common_.limits.max_head_bytes))
          return refuse(431, fmt::format("the request's head is longer than {} bytes", common_.limits.max_head_bytes));
        return read();
      }
      if (!on_head()) return;
    }
    if (!count_body()) return;
    if (parser_->is_done()) {
      begin_exchange();
      try {
        common_.handler.handle(exchange_);
      } catch (const std::exception& e) {
        send(common_.handler.error(500, e.what()));
      }
      return read();
    }
    if (used == 0) {
      // A part of a chunk's head, which has no limit of its own.
      if (buffer_.size() > kMaxAheadBytes) return refuse(400, "this is not HTTP: a chunk without an end");
      return read();
    }
  }
}

// Some clients end a body with a line too many (RFC 9112, 2.2). False: the request was refused, for lines without end.
bool Connection::skip_empty_lines() {
  const auto* bytes = static_cast<const char*>(buffer_.data().data());
  size_t size = 0;
  while (size < buffer_.size() && (bytes[size] == '\r' || bytes[size] == '\n')) ++size;
  buffer_.consume(size);
  skipped_bytes_ += size;
  if (skipped_bytes_ > kMaxSkippedBytes) return refuse(400, "empty lines are no request"), false;
  return true;
}

// Takes in the request's head. False: it was refused.
bool Connection::on_head() {
  const auto& head = parser_->get();
  request_ = {};
  request_.received = Request::Clock::now();
  request_.method = std::string(head.method_string());
  for (const auto& field : head) {
    std::string name(field.name_string());
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request_.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  const std::string* id = find_header(request_.headers, "x-request-id");
  request_.id = id && is_sane_id(*id) ? *id : new_request_id();
  error_code ignored;
  const auto peer = socket_.remote_endpoint(ignored);
  if (!ignored) request_.peer = peer.address().to_string();
  skipped_bytes_ = 0;
  keep_alive_ = parser_->keep_alive();
  is_head_ = request_.method == "HEAD";
  chunked_ = head.version() >= 11;
  outcome_ = {};

  if (const std::string flaw = ambiguity_of(request_.headers, chunked_, parser_->chunked()); !flaw.empty())
    return refuse(400, flaw), false;
  const auto target = head.target();
  const std::optional<std::string> path = path_of({target.data(), target.size()});
  if (!path) return refuse(400, "the request's target is no path"), false;
  request_.path = *path;
  std::optional<Response> refusal;
  try {
    refusal = common_.handler.refuse(request_);
  } catch (const std::exception& e) {
    refusal = common_.handler.error(500, e.what());
  }
  if (refusal) {
    keep_alive_ = keep_alive_ && parser_->is_done();
    begin_exchange();
    send(std::move(*refusal));
    return false;
  }
  if (const auto length = parser_->content_length();
      length && *length > static_cast<uint64_t>(common_.limits.max_body_bytes))
    return refuse(413, fmt::format("the request's body is longer than {} bytes", common_.limits.max_body_bytes)), false;
  enter(Phase::body);
  if (const std::string* expect = find_header(request_.headers, "expect")) {
    if (!beast::iequals(*expect, "100-continue")) return refuse(417, "only 100-continue can be expected"), false;
    if (chunked_ && !parser_->is_done() && buffer_.size() == 0) {
      next_out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      write();
    }
  }
  return true;
}

// What the bodies of all connections may hold together is limited. False: the request was refused.
bool Connection::count_body() {
  const auto size = static_cast<int64_t>(parser_->get().body().size());
  common_.bodies_bytes += size - counted_body_bytes_;
  counted_body_bytes_ = size;
  if (common_.bodies_bytes > common_.limits.max_bodies_bytes)
    return refuse(503, "too many requests are being read: try again later"), false;
  if (size - timed_body_bytes_ >= kBytesForTime) {
    timed_body_bytes_ = size;
    set_timer(common_.limits.body_time);
  }
  return true;
}

void Connection::begin_exchange() {
  if (parser_) request_.body = std::move(parser_->get().body());
  parser_.reset();
  enter(Phase::busy);
  exchange_ = std::make_shared<Exchange>(shared_from_this(), std::move(request_));
  ++common_.num_exchanges;
  request_ = {};
}

// ------------------------------------------------------------------------------------------------ answering

// Answers what cannot be handled, and ends the connection.
void Connection::refuse(int status, const std::string& message) {
  keep_alive_ = false;
  if (!parser_ || !parser_->is_header_done()) {
    request_ = {};
    request_.received = Request::Clock::now();
    request_.id = new_request_id();
    outcome_ = {};
    chunked_ = true;
    is_head_ = false;
  }
  begin_exchange();
  send(common_.handler.error(status, message));
}

void Connection::respond(std::shared_ptr<Exchange> exchange, Response response) {
  asio::post(socket_.get_executor(), own([this, exchange, response = std::move(response)]() mutable {
               if (exchange_ == exchange) send(std::move(response));
             }));
}

void Connection::stream(std::shared_ptr<Exchange> exchange, Response head, std::shared_ptr<BodyStream> body) {
  asio::post(socket_.get_executor(), own([this, exchange, head = std::move(head), body = std::move(body)]() mutable {
               if (exchange_ != exchange) return;
               body_ = std::move(body);
               begin_answer(head, std::nullopt);
               pull();
             }));
}

void Connection::wake(std::shared_ptr<Exchange> exchange) {
  asio::post(socket_.get_executor(), own([this, exchange] {
               exchange->waking_ = false;
               if (exchange_ == exchange && !writing_) pull();
             }));
}

// The head; without a length the body comes in chunks, or until the end of the connection.
void Connection::begin_answer(const Response& head, std::optional<int64_t> length) {
  outcome_.status = head.status;
  if (common_.draining || closing_) keep_alive_ = false;
  if (!length && !chunked_) keep_alive_ = false;
  const auto reason = beast::http::obsolete_reason(static_cast<beast::http::status>(head.status));
  next_out_ += fmt::format("HTTP/1.1 {} {}\r\n", head.status, std::string_view(reason.data(), reason.size()));
  Headers headers = head.headers;
  common_.handler.add_headers(&exchange_->request, headers);
  for (const auto& [name, value] : headers) next_out_ += fmt::format("{}: {}\r\n", name, value);
  if (!has_no_body(head.status)) {
    next_out_ += fmt::format("Content-Type: {}\r\n", head.content_type);
    if (length)
      next_out_ += fmt::format("Content-Length: {}\r\n", *length);
    else if (chunked_)
      next_out_ += "Transfer-Encoding: chunked\r\n";
  }
  next_out_ += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
}

void Connection::send(Response response) {
  begin_answer(response, static_cast<int64_t>(response.body.size()));
  if (!is_head_ && !has_no_body(response.status)) {
    next_out_ += response.body;
    outcome_.body_bytes = static_cast<int64_t>(response.body.size());
  }
  write();
}

// Takes what the stream has, and writes it.
void Connection::pull() {
  if (phase_ == Phase::closed || !body_) return;
  std::string piece;
  bool more = false;
  try {
    more = body_->pull(piece);
  } catch (const std::exception&) {
    return close();
  }
  outcome_.body_bytes += static_cast<int64_t>(piece.size());
  if (!is_head_) {
    if (!chunked_)
      next_out_ += piece;
    else if (!piece.empty())
      next_out_ += fmt::format("{:x}\r\n{}\r\n", piece.size(), piece);
    if (!more && chunked_) next_out_ += "0\r\n\r\n";
  }
  if (!more) body_.reset();
  if (!next_out_.empty())
    write();
  else if (!body_)
    end_exchange(true);
}

void Connection::write() {
  if (writing_ || phase_ == Phase::closed) return;
  if (sent_ == out_.size()) {
    out_.clear();
    sent_ = 0;
    std::swap(out_, next_out_);
  }
  writing_ = true;
  write_timer_.expires_after(common_.limits.write_time);
  write_timer_.async_wait(own([this](const error_code& error) {
    if (!error && writing_ && write_timer_.expiry() <= std::chrono::steady_clock::now()) close();
  }));
  socket_.async_write_some(asio::buffer(out_.data() + sent_, out_.size() - sent_),
                           own([this](const error_code& error, size_t size) {
                             writing_ = false;
                             on_written(error, size);
                           }));
}

void Connection::on_written(const error_code& error, size_t size) {
  if (phase_ == Phase::closed) return;
  if (error) return close();
  sent_ += size;
  if (sent_ < out_.size() || !next_out_.empty()) return write();
  if (out_.capacity() > kKeptBytes) out_ = std::string();
  sent_ = out_.size();
  write_timer_.cancel();
  if (body_) return pull();
  if (exchange_ && outcome_.status != 0) end_exchange(true);
}

void Connection::end_exchange(bool complete) {
  const std::shared_ptr<Exchange> exchange = std::exchange(exchange_, nullptr);
  body_.reset();
  outcome_.complete = complete;
  outcome_.seconds = std::chrono::duration<double>(Request::Clock::now() - exchange->request.received).count();
  if (complete)
    exchange->forget();
  else
    exchange->tell_gone();
  common_.handler.finished(*exchange, outcome_);
  --common_.num_exchanges;
  common_.bodies_bytes -= std::exchange(counted_body_bytes_, 0);
  timed_body_bytes_ = 0;
  outcome_ = {};
  if (!complete) return;
  if (keep_alive_ && !closing_)
    next_request();
  else
    linger();
}

void Connection::next_request() {
  if (!skip_empty_lines()) return;
  enter(buffer_.size() > 0 ? Phase::head : Phase::idle);
  if (phase_ == Phase::head) parse();
  read();
}

// Ends the connection so that the client can still read what it was sent: what it is still sending is read for a while,
// since a close before that would make its system drop the answer.
void Connection::linger() {
  enter(Phase::lingering);
  buffer_.consume(buffer_.size());
  error_code error;
  socket_.shutdown(Socket::shutdown_send, error);
  if (error) return close();
  read();
}

}  // namespace qwill::http
