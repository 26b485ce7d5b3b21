// HTTP/1.1 over TCP: many connections on a few threads, each of which serves its own share of them.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "http/exchange.h"
#include "http/message.h"

namespace qwill::http {

struct Limits {
  int64_t max_connections = 8192;  // more are told to come back later
  int64_t max_head_bytes = 16 << 10;
  int64_t max_body_bytes = 32 << 20;
  int64_t max_bodies_bytes = 512 << 20;  // of all requests whose answer is not complete
  std::chrono::seconds idle_time{75};    // between two requests of a connection
  std::chrono::seconds head_time{10};    // for a request's head
  std::chrono::seconds body_time{30};    // for each 256 KiB of a body, or its rest
  std::chrono::seconds write_time{20};   // in which a client takes some of what it was sent
};

// What an answer came to, for logs and counts.
struct Outcome {
  int status = 0;          // 0: the client was gone before it began
  int64_t body_bytes = 0;  // written
  bool complete = false;
  double seconds = 0;  // from the request's head to the end
};

// What the server does with requests. All are called on a connection's thread: they take little time.
class Handler {
 public:
  virtual ~Handler() = default;
  // Looks at a request's head, before its body is read: an answer refuses it. What this and handle throw is answered
  // with 500.
  virtual std::optional<Response> refuse(const Request& head) = 0;
  virtual void handle(std::shared_ptr<Exchange> exchange) = 0;
  // The body of an answer that is an error: bad syntax, too large, too slow, too many.
  virtual Response error(int status, const std::string& message) = 0;
  // Goes into every answer to this request; request is null where none could be read.
  virtual void add_headers(const Request* request, Headers& headers) = 0;
  virtual void finished(const Exchange& exchange, const Outcome& outcome) = 0;
};

class Server {
 public:
  // handler must outlive the server.
  Server(const Limits& limits, int num_threads, Handler& handler);
  ~Server();  // closes everything
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Accepts connections at an address ("127.0.0.1", "::1", "0.0.0.0") or a name that has one; port 0: any that is free.
  // Returns the port. Throws Error(io) that says what to do.
  int listen(const std::string& host, int port);

  // From now on an answer is the last of its connection.
  void drain();
  // Closes the port, idle connections, and others once their answer is complete; after `wait` all.
  void close(std::chrono::milliseconds wait);

  int64_t num_connections() const;
  int64_t num_exchanges() const;  // requests whose answer is not complete

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace qwill::http
