// One request and its answer. Whoever handles a request may answer it at once, or later from any thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/json.h"
#include "http/message.h"

namespace qwill::http {

class Connection;

// A body that comes piece by piece.
class BodyStream {
 public:
  virtual ~BodyStream() = default;
  // Appends what is ready by now; returns whether more will come. Called on the connection's thread, when the client
  // has taken what came before: what a slow one does not take gathers here, and may be joined. What it throws cuts the
  // body off.
  virtual bool pull(std::string& out) = 0;
};

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(std::shared_ptr<Connection> connection, Request request)
      : request(std::move(request)), connection_(std::move(connection)) {}

  Request request;  // whoever handles it may take its body

  // The whole answer, or its beginning. The first call of either counts.
  void respond(Response response);
  void stream(Response head, std::shared_ptr<BodyStream> body);
  // The stream has something to pull.
  void wake();

  // An object of what is to be told of this exchange in a log.
  void note(Json notes);
  Json notes() const;

  // Calls f, once, if the client goes away before it has the whole answer: on the connection's thread, or at once if it
  // is gone already. Forgotten when the answer is complete.
  void on_gone(std::function<void()> f);

 private:
  friend class Connection;
  void tell_gone();
  void forget();

  const std::shared_ptr<Connection> connection_;
  std::atomic<bool> answered_ = false, waking_ = false;
  mutable std::mutex mutex_;
  bool gone_ = false, over_ = false;
  std::function<void()> on_gone_;
  Json notes_ = Json::object();
};

}  // namespace qwill::http
