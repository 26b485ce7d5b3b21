#include "http/request_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <random>

namespace qwill::http {
namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::string new_request_id() {
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    return std::mt19937_64((uint64_t{device()} << 32) ^ device());
  }();
  return fmt::format("{:016x}{:08x}", random(), random() & 0xffffffff);
}

bool is_sane_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == ':';
  });
}

std::optional<std::string> path_of(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (equal_ignoring_case(target.substr(0, kScheme.size()), kScheme)) {
    const size_t slash = target.find('/', kScheme.size());
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  if (target == "*") return "*";
  if (!target.starts_with('/')) return std::nullopt;
  target = target.substr(0, target.find_first_of("?#"));
  std::string path;
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i] != '%') {
      path += target[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= target.size()) return std::nullopt;
    const char* first = target.data() + i + 1;
    const auto [end, error] = std::from_chars(first, first + 2, value, 16);
    if (error != std::errc() || end != first + 2) return std::nullopt;
    path += static_cast<char>(value);
    i += 2;
  }
  return path;
}

std::string ambiguity_of(const Headers& headers, bool is_http_1_1, bool is_chunked) {
  const auto count = [&](std::string_view name) {
    return std::ranges::count(headers, name, &Headers::value_type::first);
  };
  if (count("host") > 1 || (count("host") == 0 && is_http_1_1)) return "a request has one Host";
  const auto num_codings = count("transfer-encoding");
  const bool is_plain = num_codings == 1 && is_http_1_1 && is_chunked &&
                        equal_ignoring_case(*find_header(headers, "transfer-encoding"), "chunked");
  if (num_codings > 0 && !is_plain) return "no transfer coding but chunked is known";
  return "";
}

}  // namespace qwill::http
