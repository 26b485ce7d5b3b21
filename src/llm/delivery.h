// Turns the engine's events into text, on a thread of its own: the engine waits for nobody.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "llm/stop_strings.h"
#include "qwill/llm.h"
#include "text/detokenizer.h"

namespace qwill {

// One answer in the making.
class Answer {
 public:
  // tokenizer may be null, and must outlive the answer.
  Answer(const Tokenizer* tokenizer, std::vector<std::string> stops, Llm::Sink sink);

  std::future<GenerateResult> result() { return promise_.get_future(); }
  // Returns whether the answer has just ended. What the sink throws, and a failure, goes to the future.
  bool take(TokenEvent&& event, const std::string& failure);
  bool ended() const { return ended_; }

 private:
  std::string grow(TokenEvent& event);
  void finish();

  std::optional<Detokenizer> detokenizer_;
  StopStrings stops_;
  Llm::Sink sink_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), first_token_ = start_;
  GenerateResult result_;
  std::promise<GenerateResult> promise_;
  bool ended_ = false;
};

class Delivery {
 public:
  Delivery() : thread_([this] { run(); }) {}
  ~Delivery();
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;

  // `engine` is asked to end a sequence whose answer has ended before it.
  void push(Engine& engine, std::shared_ptr<Answer> answer, TokenEvent&& event);

 private:
  struct Item {
    Engine* engine;
    std::shared_ptr<Answer> answer;
    TokenEvent event;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Item> items_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace qwill
