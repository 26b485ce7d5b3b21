#include "http/http_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/thread_name.h"
#include "http/connection.h"

namespace qwill::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAcceptPause = std::chrono::milliseconds(50);  // when no descriptor is left

// Every connection needs a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

tcp::endpoint resolve(asio::io_context& context, const std::string& host, int port) {
  error_code error;
  tcp::resolver resolver(context);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty())
    fail(ErrorKind::io, "cannot listen on {}: there is no such address ({})", host, error.message());
  return *found.begin();
}

}  // namespace

struct Server::Shared {
  Shared(const Limits& limits, Handler& handler) : common{.limits = limits, .handler = handler} {}

  // A thread and the connections that it serves.
  struct Lane {
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
    std::list<std::weak_ptr<Connection>> connections;  // of the thread
    std::thread thread;
  };

  Common common;
  std::vector<std::unique_ptr<Lane>> lanes;
  std::optional<tcp::acceptor> acceptor;
  std::optional<asio::steady_timer> pause;
  std::atomic<bool> closed = false;  // what is accepted now is dropped
  size_t next_lane = 0;

  void accept();
  void take(Lane& lane, Connection::Socket socket);
  template <typename F>
  void on_all(F f);
};

void Server::Shared::accept() {
  Lane& lane = *lanes[next_lane++ % lanes.size()];
  acceptor->async_accept(lane.context, [this, &lane](const error_code& error, Connection::Socket socket) {
    // A connection may have come just before the port was closed.
    if (error == asio::error::operation_aborted || !acceptor->is_open()) return;
    if (error) {
      pause->expires_after(kAcceptPause);
      pause->async_wait([this](const error_code& aborted) {
        if (!aborted) accept();
      });
      return;
    }
    // The connection begins on the thread that it will live on.
    auto shared = std::make_shared<Connection::Socket>(std::move(socket));
    asio::post(lane.context, [this, &lane, shared] { take(lane, std::move(*shared)); });
    accept();
  });
}

void Server::Shared::take(Lane& lane, Connection::Socket socket) {
  if (closed) return;
  const bool full = common.num_connections >= common.limits.max_connections;
  const auto connection = std::make_shared<Connection>(std::move(socket), common);
  // Those that have ended go when others come.
  if (lane.connections.size() >= 64 && lane.connections.size() % 64 == 0)
    lane.connections.remove_if([](const auto& weak) { return weak.expired(); });
  lane.connections.push_back(connection);
  if (full)
    connection->turn_away();
  else
    connection->start();
}

// f of every connection, each on its thread; returns when all have been called.
template <typename F>
void Server::Shared::on_all(F f) {
  std::vector<std::future<void>> done;
  for (const auto& lane : lanes) {
    auto task = std::make_shared<std::packaged_task<void()>>([&lane = *lane, f] {
      for (const auto& weak : lane.connections)
        if (const auto connection = weak.lock()) f(*connection);
    });
    done.push_back(task->get_future());
    asio::post(lane->context, [task] { (*task)(); });
  }
  for (auto& one : done) one.get();
}

Server::Server(const Limits& limits, int num_threads, Handler& handler)
    : shared_(std::make_unique<Shared>(limits, handler)) {
  raise_descriptor_limit();
  for (int i = 0; i < num_threads; ++i) {
    auto& lane = *shared_->lanes.emplace_back(std::make_unique<Shared::Lane>());
    lane.thread = std::thread([&lane] {
      name_thread("qwill-http");
      lane.context.run();
    });
  }
}

Server::~Server() {
  close(std::chrono::milliseconds(0));
  for (const auto& lane : shared_->lanes) lane->context.stop();
  for (const auto& lane : shared_->lanes) lane->thread.join();
}

int Server::listen(const std::string& host, int port) {
  asio::io_context& context = shared_->lanes.front()->context;
  const tcp::endpoint endpoint = resolve(context, host, port);
  const std::string place = fmt::format("{}:{}", host, port);
  tcp::acceptor acceptor(context);
  error_code error;
  const auto must = [&] {
    if (error) fail(ErrorKind::io, "cannot listen on {}: {}; another port or address may do", place, error.message());
  };
  acceptor.open(endpoint.protocol(), error);
  must();
  acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  acceptor.bind(endpoint, error);
  must();
  acceptor.listen(4096, error);
  must();
  const int bound = acceptor.local_endpoint().port();
  shared_->acceptor = std::move(acceptor);
  shared_->pause.emplace(context);
  asio::post(context, [shared = shared_.get()] { shared->accept(); });
  return bound;
}

void Server::drain() { shared_->common.draining = true; }

void Server::close(std::chrono::milliseconds wait) {
  drain();
  shared_->closed = true;
  if (shared_->acceptor) {
    std::promise<void> closed;
    asio::post(shared_->lanes.front()->context, [&] {
      error_code ignored;
      shared_->acceptor->close(ignored);
      shared_->pause->cancel();
      closed.set_value();
    });
    closed.get_future().get();
  }
  shared_->on_all([](Connection& connection) { connection.close_when_idle(); });
  const auto end = std::chrono::steady_clock::now() + wait;
  while (num_connections() > 0 && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  shared_->on_all([](Connection& connection) { connection.close(); });
}

int64_t Server::num_connections() const { return shared_->common.num_connections; }
int64_t Server::num_exchanges() const { return shared_->common.num_exchanges; }

}  // namespace qwill::http
