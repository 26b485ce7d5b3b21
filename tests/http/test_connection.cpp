#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>

#include "http/http_server.h"
#include "http/request_head.h"
#include "support/raw_http.h"

namespace qwill::http {
namespace {

// Answers with the request's own path and body.
class Mirror final : public Handler {
 public:
  std::optional<Response> refuse(const Request& head) override {
    if (head.path == "/refused") return error(403, "refused");
    return std::nullopt;
  }
  void handle(std::shared_ptr<Exchange> exchange) override {
    ++num_handled;
    exchange->respond({.content_type = "text/plain", .body = exchange->request.path + "|" + exchange->request.body});
  }
  Response error(int status, const std::string& message) override { return {.status = status, .body = message}; }
  void add_headers(const Request*, Headers&) override {}
  void finished(const Exchange&, const Outcome&) override {}
  std::atomic<int> num_handled = 0;
};

class ConnectionTest : public testing::Test {
 protected:
  std::string post(const std::string& path, const std::string& body) {
    return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           body;
  }
  // The body of the next answer, which has a Content-Length.
  std::string next(test::RawClient& client) {
    const std::string head = client.read_until("\r\n\r\n");
    const size_t at = head.find("Content-Length: ");
    if (at == std::string::npos) return "no answer";
    return client.read(std::stoul(head.substr(at + 16)));
  }

  Mirror mirror_;
  Server server_{Limits{}, 1, mirror_};
  int port_ = server_.listen("127.0.0.1", 0);
};

// While an answer is on its way the client may send more, and its bytes must not be taken for others.
TEST_F(ConnectionTest, RequestsAreAnsweredInOrderHoweverTheyArrive) {
  test::RawClient client(port_);
  for (int round = 0; round < 50; ++round) {
    const std::string n = std::to_string(round);
    client.send(post("/a" + n, "first") + post("/b" + n, "second"));
    EXPECT_EQ(next(client), "/a" + n + "|first");
    EXPECT_EQ(next(client), "/b" + n + "|second");
    client.send(post("/c" + n, "third"));
    EXPECT_EQ(next(client), "/c" + n + "|third");
  }
  EXPECT_EQ(mirror_.num_handled, 150);
}

TEST_F(ConnectionTest, ALineTooManyBehindABodyIsSkipped) {
  test::RawClient client(port_);
  client.send(post("/a", "body") + "\r\n");
  EXPECT_EQ(next(client), "/a|body");
  client.send(post("/b", ""));
  EXPECT_EQ(next(client), "/b|");
}

TEST_F(ConnectionTest, ARequestByteByByte) {
  test::RawClient client(port_);
  for (const char c : post("/slow%20one?x", "abc")) client.send(std::string_view(&c, 1));
  EXPECT_EQ(next(client), "/slow one|abc");
}

TEST_F(ConnectionTest, AnswersWithoutABody) {
  test::RawClient client(port_);
  client.send("HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_NE(head.find("Content-Length: 3\r\n"), std::string::npos);
  client.send(post("/after", ""));
  EXPECT_EQ(next(client), "/after|") << "nothing stood between the two";
}

TEST_F(ConnectionTest, ARefusedBodyIsNotTheNextRequest) {
  test::RawClient client(port_);
  client.send(
      "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string all = client.read_all();
  EXPECT_EQ(all.find("/smuggled"), std::string::npos);
  EXPECT_NE(all.find("Connection: close"), std::string::npos);
  EXPECT_EQ(mirror_.num_handled, 0);
}

TEST(RequestHead, Paths) {
  EXPECT_EQ(path_of("/a%2fb%20c?d=%20"), "/a/b c");
  EXPECT_EQ(path_of("HTTP://host:1/a"), "/a");
  EXPECT_EQ(path_of("http://host"), "/");
  EXPECT_EQ(path_of("*"), "*");
  for (const char* wrong : {"", "a", "/%", "/%2", "/%zz", "host:443"}) EXPECT_EQ(path_of(wrong), std::nullopt) << wrong;
}

TEST(RequestHead, WhatCouldBeReadInTwoWays) {
  const auto flaw = [](Headers headers, bool is_http_1_1 = true, bool is_chunked = true) {
    return ambiguity_of(headers, is_http_1_1, is_chunked);
  };
  EXPECT_EQ(flaw({{"host", "x"}}), "");
  EXPECT_EQ(flaw({{"host", "x"}, {"transfer-encoding", "Chunked"}}), "");
  EXPECT_EQ(flaw({}, false), "") << "HTTP/1.0 needs no host";
  EXPECT_NE(flaw({}), "");
  EXPECT_NE(flaw({{"host", "x"}, {"host", "x"}}), "");
  EXPECT_NE(flaw({{"host", "x"}, {"transfer-encoding", "gzip, chunked"}}), "");
  EXPECT_NE(flaw({{"host", "x"}, {"transfer-encoding", "chunked"}, {"transfer-encoding", "chunked"}}), "");
  EXPECT_NE(flaw({{"host", "x"}, {"transfer-encoding", "identity"}}, true, false), "");
  EXPECT_NE(flaw({{"transfer-encoding", "chunked"}}, false), "") << "HTTP/1.0 has no codings";
}

}  // namespace
}  // namespace qwill::http
