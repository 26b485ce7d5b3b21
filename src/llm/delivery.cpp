#include "llm/delivery.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/thread_name.h"

namespace qwill {

Answer::Answer(const Tokenizer* tokenizer, std::vector<std::string> stops, Llm::Sink sink)
    : stops_(std::move(stops)), sink_(std::move(sink)) {
  if (tokenizer) detokenizer_.emplace(*tokenizer, Detokenizer::Special::skip);
}

// Takes in what the event brings, and returns the text that it makes certain.
std::string Answer::grow(TokenEvent& event) {
  std::string text;
  if (event.draw) {
    if (result_.token_ids.empty()) first_token_ = std::chrono::steady_clock::now();
    result_.token_ids.push_back(event.draw->id);
    result_.draws.push_back(std::move(*event.draw));
    if (detokenizer_) text = stops_.push(detokenizer_->push(result_.token_ids.back()));
  }
  if (event.finish) result_.finish = *event.finish;
  result_.stop_token = std::move(event.stop_token);
  ended_ = event.finish || stops_.found();
  if (ended_ && detokenizer_) {
    text += stops_.push(detokenizer_->finish());
    text += stops_.finish();
  }
  result_.text += text;
  return text;
}

void Answer::finish() {
  if (stops_.found()) {
    result_.finish = FinishReason::stop;
    result_.stop_string = stops_.found();
    result_.stop_token.reset();
  }
  result_.ttft_s = std::chrono::duration<double>(first_token_ - start_).count();
  result_.decode_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - first_token_).count();
}

bool Answer::take(TokenEvent&& event, const std::string& failure) {
  if (ended_) return false;
  try {
    AnswerPart part;
    std::string text;
    if (event.finish == FinishReason::failed) {
      ended_ = true;
      part.error = std::make_exception_ptr(Error(ErrorKind::device, failure));
    } else {
      const size_t num_told = result_.draws.size(), num_scored = result_.prompt_draws.size();
      std::ranges::move(event.prompt, std::back_inserter(result_.prompt_draws));
      part.text = text = grow(event);
      part.draws = std::span(result_.draws).subspan(num_told);
      part.prompt_draws = std::span(result_.prompt_draws).subspan(num_scored);
      if (ended_) finish();
      if (ended_) part.result = &result_;
    }
    if (sink_) sink_(part);
    if (part.error) std::rethrow_exception(part.error);
    if (ended_) promise_.set_value(std::move(result_));
  } catch (...) {
    ended_ = true;
    promise_.set_exception(std::current_exception());
  }
  return ended_;
}

Delivery::~Delivery() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Delivery::push(Engine& engine, std::shared_ptr<Answer> answer, TokenEvent&& event) {
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({&engine, std::move(answer), std::move(event)});
  }
  changed_.notify_one();
}

void Delivery::run() {
  name_thread("qwill-delivery");
  for (;;) {
    std::vector<Item> items;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !items_.empty(); });
      items.swap(items_);
      if (items.empty()) return;
    }
    for (Item& item : items) {
      const int64_t sequence = item.event.sequence;
      const bool by_engine = item.event.finish.has_value();
      const std::string failure = by_engine ? item.engine->failure() : "";
      if (item.answer->take(std::move(item.event), failure) && !by_engine) item.engine->cancel(sequence);
    }
  }
}

}  // namespace qwill
