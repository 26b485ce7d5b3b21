// Requests and answers of HTTP, as plain values.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwill::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

// The first value of a header, by its name in lower case; nullptr if there is none.
inline const std::string* find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers)
    if (key == name) return &value;
  return nullptr;
}

struct Request {
  using Clock = std::chrono::steady_clock;

  std::string id;      // the client's x-request-id if it sent a sane one, else a new one
  std::string method;  // as sent, "POST"
  std::string path;    // decoded, without the query
  Headers headers;     // names in lower case
  std::string body;
  std::string peer;            // the client's address
  Clock::time_point received;  // when its head was complete
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers = {};
};

}  // namespace qwill::http
