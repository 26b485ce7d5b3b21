#include <gtest/gtest.h>

#include "server/access.h"

namespace qwill {
namespace {

TEST(Access, AKeyOpens) {
  const Access access({"secret", "other"}, {});
  const auto opens = [&](const std::string& value) { return access.has_key({{"authorization", value}}); };
  EXPECT_TRUE(opens("Bearer secret"));
  EXPECT_TRUE(opens("bearer other"));
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer secre", "Bearer secret2", "Bearer secreT", "secret",
                            "Basic secret", "Bearer  secret"})
    EXPECT_FALSE(opens(wrong)) << wrong;
  EXPECT_FALSE(access.has_key({}));
  EXPECT_TRUE(Access({}, {}).has_key({}));
}

TEST(Access, PagesOfOthersAreRefused) {
  const Access closed({}, {}), some({}, {"https://a.example"}), all({}, {"*"});
  const auto asks = [](const Access& access, const std::string& origin) {
    return access.allows_origin({{"host", "localhost:8000"}, {"origin", origin}});
  };
  EXPECT_TRUE(closed.allows_origin({{"host", "localhost:8000"}}));
  EXPECT_TRUE(asks(closed, "http://localhost:8000"));
  EXPECT_TRUE(asks(closed, "https://localhost:8000"));  // behind a proxy that speaks TLS
  for (const char* origin : {"http://localhost:8001", "https://a.example", "null", "http://evil.example"}) {
    EXPECT_FALSE(asks(closed, origin)) << origin;
    EXPECT_TRUE(asks(all, origin)) << origin;
  }
  // A name that somebody has made to mean this machine is not this server's own, unless a key is needed anyway.
  const http::Headers renamed = {{"host", "evil.example:8000"}, {"origin", "http://evil.example:8000"}};
  EXPECT_FALSE(closed.allows_origin(renamed));
  EXPECT_TRUE(Access({"key"}, {}).allows_origin(renamed));
  for (const char* host : {"127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "localhost", "10.1.2.3:80"})
    EXPECT_TRUE(closed.allows_origin({{"host", host}, {"origin", std::string("http://") + host}})) << host;
  EXPECT_TRUE(asks(some, "https://a.example"));
  EXPECT_FALSE(asks(some, "https://a.example.evil"));
}

TEST(Access, BrowsersAreToldWhatTheyMay) {
  const Access access({}, {"https://a.example"});
  http::Headers answer;
  access.add_cors_headers({{"origin", "https://b.example"}}, answer);
  EXPECT_TRUE(answer.empty());
  access.add_cors_headers({{"origin", "https://a.example"},
                           {"access-control-request-method", "POST"},
                           {"access-control-request-headers", "authorization, x-y"}},
                          answer);
  EXPECT_EQ(*http::find_header(answer, "Access-Control-Allow-Origin"), "https://a.example");
  EXPECT_EQ(*http::find_header(answer, "Access-Control-Allow-Headers"), "authorization, x-y");
}

}  // namespace
}  // namespace qwill
