#include "text/python_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/utf8.h"

namespace qwill {
namespace {

struct Range {
  char32_t first, last;
};

// Code points for which str.isprintable() is false, from U+0080 on.
constexpr Range kUnprintable[] = {
#include "text/python_unprintable.inc"
};

bool printable_in_python(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c != 0x7f;
  const auto after = std::upper_bound(std::begin(kUnprintable), std::end(kUnprintable), c,
                                      [](char32_t value, const Range& range) { return value < range.first; });
  return after == std::begin(kUnprintable) || c > std::prev(after)->last;
}

bool space_in_python(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

void append_repr(std::string& out, std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos,
             has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out += quote;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_code_point(text, i);
    if (c == '\\' || c == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (printable_in_python(c)) {
      append_utf8(out, c);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  out += quote;
}

std::string number_repr(const Json& number) {
  const std::string text = number.dump_python();
  if (text == "NaN") return "nan";
  if (text == "Infinity") return "inf";
  if (text == "-Infinity") return "-inf";
  return text;
}

void append_repr(std::string& out, const Json& value) {
  switch (value.kind()) {
    case Json::Kind::null: out += "None"; break;
    case Json::Kind::boolean: out += value.as_boolean() ? "True" : "False"; break;
    case Json::Kind::number: out += number_repr(value); break;
    case Json::Kind::string: append_repr(out, std::string_view(value.as_string())); break;
    case Json::Kind::array: {
      out += '[';
      std::string_view comma;
      for (const Json& item : value.as_array()) {
        out += std::exchange(comma, ", ");
        append_repr(out, item);
      }
      out += ']';
      break;
    }
    case Json::Kind::object: {
      out += '{';
      std::string_view comma;
      for (const auto& [name, member] : value.as_object()) {
        out += std::exchange(comma, ", ");
        append_repr(out, std::string_view(name));
        out += ": ";
        append_repr(out, member);
      }
      out += '}';
      break;
    }
  }
}

}  // namespace

std::string python_str(const Json& value) {
  if (value.is_string()) return value.as_string();
  std::string out;
  append_repr(out, value);
  return out;
}

bool python_truth(const Json& value) {
  switch (value.kind()) {
    case Json::Kind::null: return false;
    case Json::Kind::boolean: return value.as_boolean();
    case Json::Kind::number:
      // An integer may be larger than any double.
      return value.is_integer() ? value.number_text().find_first_of("123456789") != std::string::npos
                                : value.as_double() != 0;
    case Json::Kind::string: return !value.as_string().empty();
    case Json::Kind::array: return !value.as_array().empty();
    case Json::Kind::object: return !value.as_object().empty();
  }
  return false;
}

std::string_view lstrip_newlines(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}

std::string_view rstrip_newlines(std::string_view text) { return text.substr(0, text.find_last_not_of('\n') + 1); }

std::string_view strip_newlines(std::string_view text) { return lstrip_newlines(rstrip_newlines(text)); }

std::string_view strip_space(std::string_view text) {
  size_t first = text.size(), last = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t at = i;
    if (space_in_python(next_code_point(text, i))) continue;
    first = std::min(first, at);
    last = i;
  }
  return first < last ? text.substr(first, last - first) : std::string_view();
}

}  // namespace qwill
