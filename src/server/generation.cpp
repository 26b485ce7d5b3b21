#include "server/generation.h"

#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "http/request_head.h"
#include "server/openai_response.h"
#include "server/openai_stream.h"

namespace qwill {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point first, Clock::time_point last) {
  return std::chrono::duration<double>(last - first).count();
}

// What an end means for the client where it is no end of an answer.
std::optional<ApiError> failure_of(FinishReason finish) {
  switch (finish) {
    case FinishReason::stop:
    case FinishReason::length: return std::nullopt;
    case FinishReason::deadline: return ApiError(504, "timeout", "the answer took longer than a request may");
    case FinishReason::cancelled: return ApiError(503, "shutting_down", "the server is shutting down");
    case FinishReason::failed: break;
  }
  return ApiError(500, "internal_error", "the answer failed");
}

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(std::shared_ptr<http::Exchange> exchange, ServedModel& model, AnswerForm form, size_t num_choices)
      : exchange_(std::move(exchange)), model_(model), form_(std::move(form)), last_(num_choices) {}
  virtual ~Generation() = default;

  void begin(std::vector<GenerateRequest> requests) {
    exchange_->on_gone([self = shared_from_this()] {
      ++self->model_.metrics.requests_aborted;
      self->cancel();
    });
    try {
      for (size_t i = 0; i < requests.size(); ++i) {
        const auto on_part = [self = shared_from_this(), i](const AnswerPart& part) { self->take(i, part); };
        add(model_.llm->submit(std::move(requests[i]), on_part).sequence);
      }
    } catch (...) {
      // What ends because of this is not told: the error is.
      {
        const std::lock_guard lock(mutex_);
        failed_ = true;
      }
      cancel();
      throw;
    }
  }

 protected:
  // On the thread of all deliveries.
  virtual void on_part(size_t choice, const AnswerPart& part) = 0;
  virtual void on_failure(const Error& error) = 0;
  virtual void on_all_ended() = 0;

  // Nothing more is answered, and the other choices end.
  void fail(const Error& error) {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(failed_, true)) return;
    }
    if (api_status(error) == 500) ++model_.metrics.requests_failed;
    cancel();
    on_failure(error);
  }

  const std::shared_ptr<http::Exchange> exchange_;
  ServedModel& model_;
  const AnswerForm form_;

 private:
  void add(int64_t sequence) {
    {
      const std::lock_guard lock(mutex_);
      sequences_.push_back(sequence);
      if (!cancelled_) return;
    }
    model_.llm->cancel(sequence);
  }

  void cancel() {
    std::vector<int64_t> sequences;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      sequences = sequences_;
    }
    for (const int64_t sequence : sequences) model_.llm->cancel(sequence);
  }

  // Nothing that goes wrong with one answer leaves it.
  void take(size_t choice, const AnswerPart& part) {
    {
      const std::lock_guard lock(mutex_);
      if (failed_) return;
    }
    try {
      if (part.error) std::rethrow_exception(part.error);
      if (!part.draws.empty()) measure(choice);
      if (part.result)
        if (const auto failure = failure_of(part.result->finish)) return fail(*failure);
      on_part(choice, part);
      if (!part.result) return;
      num_tokens_ += static_cast<int64_t>(part.result->token_ids.size());
      if (++num_ended_ == last_.size()) finish();
    } catch (const Error& e) {
      fail(e);
    } catch (const std::exception& e) {
      fail(ApiError(500, "internal_error", e.what()));
    }
  }

  // A token came.
  void measure(size_t choice) {
    const auto now = Clock::now(), arrival = exchange_->request.received;
    if (last_[choice] == Clock::time_point()) {
      model_.metrics.time_to_first_token.observe(seconds_between(arrival, now));
      if (!ttft_) ttft_ = seconds_between(arrival, now);
    } else {
      model_.metrics.inter_token_latency.observe(seconds_between(last_[choice], now));
    }
    last_[choice] = now;
  }

  void finish() {
    model_.metrics.e2e_request_latency.observe(seconds_between(exchange_->request.received, Clock::now()));
    Json notes = Json::object();
    notes.set("model", model_.name).set("prompt_tokens", form_.prompt_tokens).set("completion_tokens", num_tokens_);
    if (ttft_) notes.set("ttft_s", Json::number_text(fmt::format("{:.4f}", *ttft_)));
    exchange_->note(std::move(notes));
    on_all_ended();
  }

  std::mutex mutex_;
  std::vector<int64_t> sequences_;
  bool cancelled_ = false, failed_ = false;
  // Of the thread of deliveries:
  std::vector<Clock::time_point> last_;  // token of each choice
  std::optional<double> ttft_;
  size_t num_ended_ = 0;
  int64_t num_tokens_ = 0;
};

class WholeAnswer final : public Generation {
 public:
  WholeAnswer(std::shared_ptr<http::Exchange> exchange, ServedModel& model, AnswerForm form, size_t num_choices,
              const Later& later)
      : Generation(std::move(exchange), model, std::move(form), num_choices), later_(later), results_(num_choices) {}

 private:
  void on_part(size_t choice, const AnswerPart& part) override {
    if (part.result) results_[choice] = *part.result;
  }
  void on_failure(const Error& error) override { exchange_->respond(error_response(error)); }
  // Not here: nobody's tokens should wait for a long answer to be put together.
  void on_all_ended() override {
    later_([this, self = shared_from_this()] {
      try {
        const Json body = api_response(form_, model_.tokenizer(), results_, http::new_request_id(), std::time(nullptr));
        exchange_->respond({.body = body.dump()});
      } catch (const std::exception& e) {
        fail(ApiError(500, "internal_error", e.what()));
      }
    });
  }

  const Later& later_;
  std::vector<GenerateResult> results_;
};

class StreamedAnswer final : public Generation, public http::BodyStream {
 public:
  StreamedAnswer(std::shared_ptr<http::Exchange> exchange, ServedModel& model, AnswerForm form, size_t num_choices)
      : Generation(std::move(exchange), model, std::move(form), num_choices),
        events_(form_, model.tokenizer(), http::new_request_id(), std::time(nullptr)),
        choices_(num_choices) {}

  // What came since the last time; of a slow client's answers many tokens at once.
  bool pull(std::string& out) override {
    std::vector<std::pair<size_t, News>> news;
    std::string failure;
    bool over = false;
    {
      const std::lock_guard lock(news_mutex_);
      for (const size_t choice : std::exchange(changed_, {}))
        news.emplace_back(choice, std::exchange(choices_[choice], {}));
      failure = failure_;
      over = over_;
    }
    if (!failure.empty()) {
      out += failure;
      return false;
    }
    for (const auto& [choice, one] : news) {
      const auto index = static_cast<int64_t>(choice);
      events_.begin(out, index, one.prompt_draws);
      events_.add(out, index, one.text, one.draws, one.end ? &*one.end : nullptr);
    }
    if (over) events_.finish(out);
    return !over;
  }

 private:
  struct News {
    std::string text;
    std::vector<Draw> draws, prompt_draws;
    std::optional<AnswerEnd> end;
    bool listed = false;
  };

  void on_part(size_t choice, const AnswerPart& part) override {
    {
      const std::lock_guard lock(news_mutex_);
      News& news = choices_[choice];
      news.prompt_draws.insert(news.prompt_draws.end(), part.prompt_draws.begin(), part.prompt_draws.end());
      if (part.draws.empty() && !part.result) return;  // the prompt is not whole yet
      if (!news.listed) changed_.push_back(choice);
      news.listed = true;
      news.text += part.text;
      if (form_.num_logprobs >= 0) news.draws.insert(news.draws.end(), part.draws.begin(), part.draws.end());
      if (part.result) news.end = AnswerEnd(*part.result);
    }
    exchange_->wake();
  }
  void on_failure(const Error& error) override {
    {
      const std::lock_guard lock(news_mutex_);
      ApiStream::fail(failure_, error);
    }
    exchange_->wake();
  }
  void on_all_ended() override {
    {
      const std::lock_guard lock(news_mutex_);
      over_ = true;
    }
    exchange_->wake();
  }

  ApiStream events_;  // of the connection's thread
  std::mutex news_mutex_;
  std::vector<News> choices_;
  std::vector<size_t> changed_;
  std::string failure_;  // the event that tells it
  bool over_ = false;
};

}  // namespace

void generate(std::shared_ptr<http::Exchange> exchange, ServedModel& model, ApiRequest request, const Later& later) {
  const size_t num_choices = request.requests.size();
  if (!request.stream) {
    std::make_shared<WholeAnswer>(exchange, model, std::move(request.form), num_choices, later)
        ->begin(std::move(request.requests));
    return;
  }
  const auto answer = std::make_shared<StreamedAnswer>(exchange, model, std::move(request.form), num_choices);
  answer->begin(std::move(request.requests));
  exchange->stream({.content_type = "text/event-stream", .body = {}, .headers = {{"Cache-Control", "no-cache"}}},
                   answer);
}

}  // namespace qwill
