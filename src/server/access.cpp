#include "server/access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>

namespace qwill {
namespace {

// Looks at every byte, whatever it finds.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  volatile unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i)
    difference = difference | static_cast<unsigned char>(a[i] ^ (b.empty() ? 0 : b[i % b.size()]));
  return difference == 0;
}

// "localhost", "127.0.0.1" or "[::1]", with a port or without.
bool is_address(std::string_view host) {
  if (host.starts_with('[')) return true;
  const std::string name(host.substr(0, host.rfind(':')));
  in_addr address{};
  return name == "localhost" || ::inet_pton(AF_INET, name.c_str(), &address) == 1;
}

bool starts_with_ignoring_case(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && std::ranges::equal(text.substr(0, start.size()), start, [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
         });
}

}  // namespace

Access::Access(std::vector<std::string> keys, std::vector<std::string> origins)
    : keys_(std::move(keys)), origins_(std::move(origins)) {}

bool Access::has_key(const http::Headers& headers) const {
  if (keys_.empty()) return true;
  constexpr std::string_view kScheme = "Bearer ";
  const std::string* authorization = http::find_header(headers, "authorization");
  if (!authorization || !starts_with_ignoring_case(*authorization, kScheme)) return false;
  const std::string_view given = std::string_view(*authorization).substr(kScheme.size());
  bool found = false;
  for (const std::string& key : keys_) found |= equal_in_constant_time(given, key);
  return found;
}

bool Access::is_listed(std::string_view origin) const {
  return std::ranges::any_of(origins_, [&](const std::string& one) { return one == "*" || one == origin; });
}

bool Access::allows_origin(const http::Headers& headers) const {
  const std::string* origin = http::find_header(headers, "origin");
  if (!origin) return true;
  const std::string* host = http::find_header(headers, "host");
  const bool is_own = host && (*origin == "http://" + *host || *origin == "https://" + *host);
  if (is_own && (!keys_.empty() || is_address(*host))) return true;
  return is_listed(*origin);
}

void Access::add_cors_headers(const http::Headers& request, http::Headers& answer) const {
  const std::string* origin = http::find_header(request, "origin");
  if (!origin || !is_listed(*origin)) return;
  answer.emplace_back("Access-Control-Allow-Origin", *origin);
  answer.emplace_back("Vary", "Origin");
  answer.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  if (!http::find_header(request, "access-control-request-method")) return;
  answer.emplace_back("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  const std::string* wanted = http::find_header(request, "access-control-request-headers");
  answer.emplace_back("Access-Control-Allow-Headers", wanted ? *wanted : "Authorization, Content-Type");
  answer.emplace_back("Access-Control-Max-Age", "600");
}

}  // namespace qwill
