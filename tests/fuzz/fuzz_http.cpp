// Any bytes on a connection, in two pieces: answers in HTTP, or a closed connection.
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/http_server.h"

namespace {

using namespace qwill;
namespace asio = boost::asio;
using asio::ip::tcp;

class Echo final : public http::Handler {
 public:
  std::optional<http::Response> refuse(const http::Request& head) override {
    if (head.path == "/refused") return error(404, "refused");
    return std::nullopt;
  }
  void handle(std::shared_ptr<http::Exchange> exchange) override {
    CHECK(exchange->request.path.starts_with('/') || exchange->request.path == "*", "a path begins with a slash");
    exchange->respond({.content_type = "text/plain", .body = std::to_string(exchange->request.body.size())});
  }
  http::Response error(int status, const std::string& message) override { return {.status = status, .body = message}; }
  void add_headers(const http::Request* request, http::Headers& headers) override {
    headers.emplace_back("X-Request-Id", request->id);
  }
  void finished(const http::Exchange&, const http::Outcome&) override {}
};

struct World {
  World() : server({.max_head_bytes = 2048, .max_body_bytes = 4096}, 1, echo), port(server.listen("127.0.0.1", 0)) {}
  Echo echo;
  http::Server server;
  int port;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World& world = *new World;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  asio::io_context context;
  tcp::socket client(context);
  client.connect({asio::ip::address_v4::loopback(), static_cast<unsigned short>(world.port)});
  boost::system::error_code error;
  const size_t first = size > 0 ? data[0] % size : 0;
  asio::write(client, asio::buffer(text.data(), first), error);
  asio::write(client, asio::buffer(text.data() + first, size - first), error);
  client.shutdown(tcp::socket::shutdown_send, error);
  std::string answer;
  asio::read(client, asio::dynamic_buffer(answer), error);
  CHECK(answer.empty() || answer.starts_with("HTTP/1.1 "), "an answer is HTTP");
  return 0;
}
