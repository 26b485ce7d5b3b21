// A server in this process, so that faults can be put into it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>
#include <thread>

#include "server/api_server.h"
#include "support/raw_http.h"

namespace qwill {
namespace {

using namespace std::chrono_literals;
using test::body_of;
using test::get;
using test::post;
using test::status_of;

class ApiServerTest : public testing::Test {
 protected:
  ApiServerTest() {
    ServerOptions options;
    options.log_requests = false;
    server_.emplace(options);
  }
  void listen() { port_ = server_->listen("127.0.0.1", 0); }
  void serve() {
    auto model = std::make_unique<ServedModel>();
    model->name = "nib";
    LlmOptions options;
    options.device = "cpu";
    options.num_threads = 1;
    options.max_sequences = 4;
    model->llm = Llm::open(options);
    llm_ = model->llm.get();
    std::vector<std::unique_ptr<ServedModel>> models;
    models.push_back(std::move(model));
    server_->serve(std::move(models));
  }

  std::optional<ApiServer> server_;
  Llm* llm_ = nullptr;
  int port_ = 0;
};

constexpr const char* kStory = R"({"prompt":"Once upon a time","max_tokens":40,"temperature":0})";

std::string text_of(const std::string& answer) {
  return Json::parse(body_of(answer)).find("choices")->as_array()[0].find("text")->as_string();
}

TEST_F(ApiServerTest, IsAliveButNotReadyWhileModelsAreLoaded) {
  listen();
  EXPECT_EQ(status_of(get(port_, "/health")), 200);
  EXPECT_EQ(status_of(get(port_, "/ready")), 503);
  const std::string refused = post(port_, "/v1/completions", kStory);
  EXPECT_EQ(status_of(refused), 503);
  EXPECT_NE(refused.find("Retry-After: "), std::string::npos);
  serve();
  EXPECT_EQ(status_of(get(port_, "/ready")), 200);
  EXPECT_EQ(status_of(post(port_, "/v1/completions", kStory)), 200);
}

// Throws in the middle of its body.
class BrokenStream final : public http::BodyStream {
  bool pull(std::string& out) override {
    if (begun_) throw std::runtime_error("injected");
    begun_ = true;
    out += "beginning";
    return true;
  }
  bool begun_ = false;
};

TEST_F(ApiServerTest, AnErrorInsideOneRequestIsThatRequestsAlone) {
  const auto throwing = [](auto&&...) { throw std::runtime_error("injected"); };
  server_->add_route("GET", "/throws", {throwing});
  server_->add_route("GET", "/throws-quickly", {throwing, true, true});
  server_->add_route("GET", "/throws-what-is-no-exception-of-ours", {[](auto&&...) { throw std::bad_alloc(); }});
  server_->add_route("GET", "/breaks", {[](const std::shared_ptr<http::Exchange>& exchange) {
                       exchange->stream({.body = {}}, std::make_shared<BrokenStream>());
                       exchange->wake();
                     }});
  listen();
  serve();
  const std::string wanted = text_of(post(port_, "/v1/completions", kStory));
  std::atomic<bool> done = false;
  std::thread neighbour([&] {
    while (!done) EXPECT_EQ(text_of(post(port_, "/v1/completions", kStory)), wanted);
  });
  for (int round = 0; round < 20; ++round) {
    for (const char* path : {"/throws", "/throws-quickly", "/throws-what-is-no-exception-of-ours"}) {
      const std::string answer = get(port_, path);
      EXPECT_EQ(status_of(answer), 500);
      EXPECT_NE(body_of(answer).find("\"internal_error\""), std::string::npos);
    }
    // The head has gone out: the body is cut off, without the chunk that would end it.
    EXPECT_FALSE(get(port_, "/breaks").ends_with("0\r\n\r\n"));
  }
  done = true;
  neighbour.join();
}

TEST_F(ApiServerTest, IsNotReadyWhileAStepIsStuck) {
  listen();
  serve();
  // A long answer, so that there is work; the engine's thread is held for a while.
  test::RawClient client(port_);
  const std::string body = R"({"prompt":"Once","max_tokens":2000,"stream":true,"ignore_eos":true})";
  client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n" + body);
  client.read_until("data: ");
  EXPECT_EQ(status_of(get(port_, "/ready")), 200);
  std::promise<void> held, release;
  std::thread holder([&] {
    llm_->engine().call([&](EngineCore&) {
      held.set_value();
      release.get_future().wait();
    });
  });
  held.get_future().wait();
  const auto begin = std::chrono::steady_clock::now();
  while (status_of(get(port_, "/ready")) != 503 && std::chrono::steady_clock::now() < begin + 30s)
    std::this_thread::sleep_for(50ms);
  EXPECT_EQ(status_of(get(port_, "/ready")), 503) << "a stuck engine is found";
  EXPECT_EQ(status_of(get(port_, "/health")), 200) << "it may come back";
  release.set_value();
  holder.join();
  const auto released = std::chrono::steady_clock::now();
  while (status_of(get(port_, "/ready")) != 200 && std::chrono::steady_clock::now() < released + 30s)
    std::this_thread::sleep_for(50ms);
  EXPECT_EQ(status_of(get(port_, "/ready")), 200);
  client.close();
}

TEST_F(ApiServerTest, AClientThatGoesFreesItsSequence) {
  listen();
  serve();
  const std::string body = R"({"prompt":"Once","max_tokens":2000,"ignore_eos":true,"n":4})";
  for (int round = 0; round < 3; ++round) {
    test::RawClient client(port_);
    client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
                "\r\n\r\n" + body);
    while (llm_->engine().stats().running < 4) std::this_thread::sleep_for(1ms);
    client.close();
    while (llm_->engine().busy()) std::this_thread::sleep_for(1ms);
    EXPECT_LT(llm_->engine().stats().output_tokens, (round + 1) * 4 * 1500) << "it did not run to its end";
  }
}

TEST_F(ApiServerTest, ADrainTellsWhatItCannotFinish) {
  listen();
  serve();
  const std::string body = R"({"prompt":"Once","max_tokens":2000,"ignore_eos":true,"n":4)";
  auto whole = std::async(std::launch::async, [&] { return post(port_, "/v1/completions", body + "}"); });
  auto streamed =
      std::async(std::launch::async, [&] { return post(port_, "/v1/completions", body + R"(,"stream":true})"); });
  while (llm_->engine().stats().running + llm_->engine().stats().waiting < 8) std::this_thread::sleep_for(1ms);
  server_->drain(50ms);
  EXPECT_EQ(status_of(whole.get()), 503);
  const std::string stream = streamed.get();
  EXPECT_EQ(status_of(stream), 200);
  EXPECT_NE(stream.find("\"shutting_down\""), std::string::npos);
  EXPECT_TRUE(stream.ends_with("0\r\n\r\n"));
}

}  // namespace
}  // namespace qwill
