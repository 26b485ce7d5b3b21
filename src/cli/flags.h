// Flags that are read strictly: whole decimal numbers in their range and known words, or wrong usage.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace qwill::cli {

// The whole of text as a decimal number; nothing for anything else, out of T's range included.
template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
T read_number(const std::string& flag, const std::string& text) {
  const std::optional<T> value = parse_number<T>(text);
  if (!value)
    throw CLI::ValidationError(
        flag, fmt::format("\"{}\" is not {} that fits", text, std::integral<T> ? "a whole number" : "a number"));
  return *value;
}

// FLAG N, from low to high. Target is a number, or an optional one that stays empty without the flag.
template <typename Target, typename T>
CLI::Option* add_number(CLI::App& command, const std::string& flag, Target& target, T low, T high,
                        const std::string& description) {
  const auto read = [&target, flag, low, high](const std::string& text) {
    const T value = read_number<T>(flag, text);
    if (!(value >= low && value <= high))
      throw CLI::ValidationError(flag, fmt::format("{} is not from {} to {}", text, low, high));
    target = static_cast<Target>(value);
  };
  return command.add_option_function<std::string>(flag, read, description)->type_name("N");
}

// FLAG N, whose range is checked elsewhere.
template <typename T>
CLI::Option* add_number(CLI::App& command, const std::string& flag, std::optional<T>& target,
                        const std::string& description) {
  const auto read = [&target, flag](const std::string& text) { target = read_number<T>(flag, text); };
  return command.add_option_function<std::string>(flag, read, description)->type_name("N");
}

// FLAG TEXT, which may be empty; target stays empty without the flag.
inline CLI::Option* add_text(CLI::App& command, const std::string& flag, std::optional<std::string>& target,
                             const std::string& description) {
  return command.add_option_function<std::string>(
      flag, [&target](const std::string& text) { target = text; }, description);
}

// FLAG WORD, of a closed list.
template <typename T>
CLI::Option* add_choice(CLI::App& command, const std::string& flag, T& target,
                        const std::vector<std::pair<std::string, T>>& choices, const std::string& description) {
  std::string words;
  for (const auto& [word, value] : choices) words += (words.empty() ? "" : "|") + word;
  const auto read = [&target, flag, choices, words](const std::string& text) {
    for (const auto& [word, value] : choices) {
      if (word != text) continue;
      target = value;
      return;
    }
    throw CLI::ValidationError(flag, fmt::format("\"{}\" is not one of {}", text, words));
  };
  return command.add_option_function<std::string>(flag, read, description)->type_name(words);
}

}  // namespace qwill::cli
