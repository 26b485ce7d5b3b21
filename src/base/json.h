// JSON values, read with RapidJSON and kept as Python's json module keeps them: objects in the order of first
// appearance, the last of duplicate keys wins, numbers as their exact text (so big integers survive).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwill {

class Json {
 public:
  enum class Kind { null, boolean, number, string, array, object };
  using Member = std::pair<std::string, Json>;

  Json() = default;
  Json(bool value) : kind_(Kind::boolean), boolean_(value) {}
  Json(int value) : Json(static_cast<int64_t>(value)) {}
  Json(int64_t value) : kind_(Kind::number), text_(std::to_string(value)) {}
  Json(uint64_t value) : kind_(Kind::number), text_(std::to_string(value)) {}
  Json(double value);  // not finite: null, since JSON has no such number
  Json(std::string_view value) : kind_(Kind::string), text_(value) {}
  Json(const std::string& value) : kind_(Kind::string), text_(value) {}
  Json(const char* value) : kind_(Kind::string), text_(value) {}
  static Json array(std::vector<Json> items = {});
  static Json object(std::vector<Member> members = {});
  static Json number_text(std::string text);  // text: a JSON number, or NaN, Infinity, -Infinity

  // Throws Error(invalid) "invalid JSON at byte N: why". Ill-formed UTF-8, more than 256 levels of nesting and
  // trailing text are errors; NaN and Infinity are accepted, as Python does.
  static Json parse(std::string_view text);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_boolean() const { return kind_ == Kind::boolean; }
  bool is_number() const { return kind_ == Kind::number; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_object() const { return kind_ == Kind::object; }
  bool is_integer() const;  // a number written without fraction and exponent

  // Typed access. Throws Error(invalid) "expected an integer, found a string" for the wrong kind or range;
  // callers add where with with_context, or use the checked look-ups below, which do so themselves.
  bool as_boolean() const;
  int64_t as_integer() const;  // 3.0 counts as 3
  double as_double() const;
  const std::string& as_string() const;
  const std::vector<Json>& as_array() const;
  const std::vector<Member>& as_object() const;
  const std::string& number_text() const { return text_; }

  // Member by name: nullptr if absent or not an object.
  const Json* find(std::string_view name) const;
  // Member by name, null counting as absent.
  const Json* find_value(std::string_view name) const;

  // Look-ups that name the key in their errors; absent or null: missing is an error, or gives the fallback.
  int64_t integer(std::string_view name) const;
  int64_t integer_or(std::string_view name, int64_t fallback) const;
  double number(std::string_view name) const;
  double number_or(std::string_view name, double fallback) const;
  bool boolean_or(std::string_view name, bool fallback) const;
  std::string string_or(std::string_view name, std::string_view fallback) const;

  // Building. set replaces an existing member in place.
  Json& set(std::string_view name, Json value);
  Json& push_back(Json value);

  // Compact JSON, UTF-8, "," and ":" without spaces.
  std::string dump() const;
  // What Python's json.dumps(value, ensure_ascii=False) prints: ", " and ": ", floats as repr prints them.
  std::string dump_python() const;

  // "an integer", "a string", … for messages.
  std::string_view kind_name() const;

 private:
  const Json& required(std::string_view name) const;

  Kind kind_ = Kind::null;
  bool boolean_ = false;
  std::string text_;  // of a string or a number
  std::vector<Json> items_;
  std::vector<Member> members_;
};

// text as a JSON string with its quotes; escapes only what JSON requires.
std::string json_quote(std::string_view text);

// repr() of a Python float: the shortest text that reads back, 1e-05 and 1e+16 style exponents, inf as Infinity.
std::string python_float(double value);

}  // namespace qwill
