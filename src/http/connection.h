// A client's connection: reads one request after the other, and writes what answers it. Lives on one thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "http/exchange.h"
#include "http/http_server.h"

namespace qwill::http {

// What the connections of a server share.
struct Common {
  Limits limits;
  Handler& handler;
  std::atomic<bool> draining = false;
  std::atomic<int64_t> num_connections = 0;
  std::atomic<int64_t> num_exchanges = 0;
  std::atomic<int64_t> bodies_bytes = 0;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  Connection(Socket socket, Common& common);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // All on the connection's thread.
  void start();
  void turn_away();  // instead of start: there are too many
  void close_when_idle();
  void close();

  // For the exchange, from any thread.
  void respond(std::shared_ptr<Exchange> exchange, Response response);
  void stream(std::shared_ptr<Exchange> exchange, Response head, std::shared_ptr<BodyStream> body);
  void wake(std::shared_ptr<Exchange> exchange);

 private:
  enum class Phase : uint8_t { idle, head, body, busy, lingering, closed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  // Reading.
  void read();
  void on_readable();
  void parse();
  bool skip_empty_lines();
  bool on_head();
  bool count_body();
  void begin_exchange();
  void enter(Phase phase);
  void set_timer(std::chrono::steady_clock::duration time);
  void on_timer();

  // Answering.
  void refuse(int status, const std::string& message);
  void send(Response response);
  void begin_answer(const Response& head, std::optional<int64_t> length);
  void pull();
  void write();
  void on_written(const boost::system::error_code& error, size_t size);
  void end_exchange(bool complete);
  void next_request();
  void linger();

  template <typename F>
  auto own(F f);  // keeps the connection while f waits to be called

  Socket socket_;
  Common& common_;
  boost::asio::steady_timer timer_, write_timer_;
  Phase phase_ = Phase::idle;

  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  size_t skipped_bytes_ = 0;
  bool reading_ = false, counted_ = true;
  Request request_;
  int64_t counted_body_bytes_ = 0, timed_body_bytes_ = 0;
  bool keep_alive_ = false, is_head_ = false, chunked_ = false;

  std::shared_ptr<Exchange> exchange_;  // while it is answered
  std::shared_ptr<BodyStream> body_;    // while more may come
  std::string out_, next_out_;          // being written, and what comes after it
  size_t sent_ = 0;
  bool writing_ = false, closing_ = false;
  Outcome outcome_;
};

}  // namespace qwill::http
