#include "http/exchange.h"

#include <utility>

#include "http/connection.h"

namespace qwill::http {

void Exchange::respond(Response response) {
  if (!answered_.exchange(true)) connection_->respond(shared_from_this(), std::move(response));
}

void Exchange::stream(Response head, std::shared_ptr<BodyStream> body) {
  if (!answered_.exchange(true)) connection_->stream(shared_from_this(), std::move(head), std::move(body));
}

void Exchange::wake() {
  if (!waking_.exchange(true)) connection_->wake(shared_from_this());
}

void Exchange::on_gone(std::function<void()> f) {
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    if (!gone_) {
      on_gone_ = std::move(f);
      return;
    }
  }
  f();
}

void Exchange::note(Json notes) {
  const std::lock_guard lock(mutex_);
  notes_ = std::move(notes);
}

Json Exchange::notes() const {
  const std::lock_guard lock(mutex_);
  return notes_;
}

void Exchange::tell_gone() {
  std::function<void()> f;
  {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    f = std::move(on_gone_);
    on_gone_ = nullptr;
  }
  if (f) f();
}

void Exchange::forget() {
  const std::lock_guard lock(mutex_);
  over_ = true;
  on_gone_ = nullptr;
}

}  // namespace qwill::http
