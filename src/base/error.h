// Errors of three kinds (docs/architecture.md, "Errors"): the outside world is wrong (Error), an expected outcome
// (a return value), and a mistake of ours (CHECK).
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "qwill/error.h"

namespace qwill {

template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void fail_invalid(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::invalid, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void fail_unsupported(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::unsupported, fmt::format(format, std::forward<Args>(args)...));
}

// Runs f; an Error that leaves it gains "context: ".
template <typename F>
decltype(auto) with_context(std::string_view context, F&& f) {
  try {
    return std::forward<F>(f)();
  } catch (const Error& e) {
    throw e.within(context);
  }
}

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const char* meaning);

// One line for a quotation of foreign text in a message: control bytes and invalid UTF-8 escaped, cut at max_bytes.
std::string printable(std::string_view text, size_t max_bytes = 60);

}  // namespace qwill

// An invariant of ours, unreachable from any input. Ends the process with the place and the meaning.
#define CHECK(condition, meaning) \
  (static_cast<bool>(condition) ? void(0) : ::qwill::check_failed(__FILE__, __LINE__, #condition, meaning))
