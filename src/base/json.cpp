#include "base/json.h"

#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "base/error.h"
#include "base/utf8.h"

namespace qwill {
namespace {

constexpr size_t kMaxDepth = 256;
constexpr size_t kIndexedObject = 32;  // members above which duplicates are found by a hash table

// Receives RapidJSON's events and builds a Json without recursion.
class Builder {
 public:
  using Ch = char;
  bool Null() { return add(Json()); }
  bool Bool(bool value) { return add(Json(value)); }
  bool RawNumber(const char* text, rapidjson::SizeType size, bool) {
    return add(Json::number_text(std::string(text, size)));
  }
  bool String(const char* text, rapidjson::SizeType size, bool) {
    return well_formed({text, size}) && add(Json(std::string_view(text, size)));
  }
  bool Key(const char* text, rapidjson::SizeType size, bool) {
    open_.back().key.assign(text, size);
    return well_formed({text, size});
  }
  bool StartObject() { return open(Json::object()); }
  bool StartArray() { return open(Json::array()); }
  bool EndObject(rapidjson::SizeType) { return close(); }
  bool EndArray(rapidjson::SizeType) { return close(); }
  // Never called: numbers arrive as text.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(int64_t) { return false; }
  bool Uint64(uint64_t) { return false; }
  bool Double(double) { return false; }

  Json result() { return std::move(root_); }
  bool too_deep() const { return too_deep_; }
  bool lone_surrogate() const { return lone_surrogate_; }

 private:
  // The input was UTF-8, so only an escape such as \udc00 on its own, which RapidJSON lets through, can be otherwise.
  bool well_formed(std::string_view text) {
    lone_surrogate_ = text.find('\xed') != std::string_view::npos && find_invalid_utf8(text) != std::string_view::npos;
    return !lone_surrogate_;
  }

  struct Open {
    Json value;
    std::string key;
    std::vector<Json> items;
    std::vector<Json::Member> members;
    std::unordered_map<std::string, size_t> index;
  };

  bool open(Json value) {
    if (open_.size() == kMaxDepth) {
      too_deep_ = true;
      return false;
    }
    open_.push_back(Open{std::move(value), {}, {}, {}, {}});
    return true;
  }

  bool close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    return add(done.value.is_object() ? Json::object(std::move(done.members)) : Json::array(std::move(done.items)));
  }

  bool add(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().value.is_array()) {
      open_.back().items.push_back(std::move(value));
    } else {
      add_member(open_.back(), std::move(value));
    }
    return true;
  }

  static void add_member(Open& object, Json value) {
    auto& members = object.members;
    if (members.size() >= kIndexedObject && object.index.empty())
      for (size_t i = 0; i < members.size(); ++i) object.index.emplace(members[i].first, i);
    size_t found = members.size();
    if (!object.index.empty()) {
      found = object.index.emplace(object.key, members.size()).first->second;
    } else {
      for (size_t i = 0; i < members.size(); ++i)
        if (members[i].first == object.key) found = i;
    }
    if (found < members.size())
      members[found].second = std::move(value);
    else
      members.emplace_back(std::move(object.key), std::move(value));
  }

  std::vector<Open> open_;
  Json root_;
  bool too_deep_ = false;
  bool lone_surrogate_ = false;
};

bool is_integer_text(std::string_view text) {
  return !text.empty() && text.find_first_not_of("-0123456789") == std::string_view::npos;
}

double parse_double(const std::string& text) {
  if (text == "NaN" || text == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text.find("Inf") != std::string::npos) return text[0] == '-' ? -HUGE_VAL : HUGE_VAL;
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);  // 1e-400 leaves 0; 1e400 was refused by the parser
  return value;
}

std::string python_number(const std::string& text) {
  if (is_integer_text(text)) return text == "-0" ? "0" : text;
  return python_float(parse_double(text));
}

}  // namespace

Json::Json(double value) : kind_(std::isfinite(value) ? Kind::number : Kind::null) {
  if (kind_ == Kind::number) text_ = python_float(value);
}

Json Json::array(std::vector<Json> items) {
  Json json;
  json.kind_ = Kind::array;
  json.items_ = std::move(items);
  return json;
}

Json Json::object(std::vector<Member> members) {
  Json json;
  json.kind_ = Kind::object;
  json.members_ = std::move(members);
  return json;
}

Json Json::number_text(std::string text) {
  Json json;
  json.kind_ = Kind::number;
  json.text_ = std::move(text);
  return json;
}

Json Json::parse(std::string_view text) {
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
    fail_invalid("invalid JSON at byte {}: not UTF-8", bad);
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    fail_invalid("invalid JSON at byte {}: a NUL byte", nul);
  const std::string terminated(text);  // RapidJSON's StringStream stops at the NUL behind it
  rapidjson::StringStream stream(terminated.c_str());
  rapidjson::Reader reader;
  Builder builder;
  constexpr unsigned kFlags =
      rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag | rapidjson::kParseNanAndInfFlag;
  const auto result = reader.Parse<kFlags>(stream, builder);
  if (builder.too_deep())
    fail_invalid("invalid JSON at byte {}: nested deeper than {} levels", stream.Tell(), kMaxDepth);
  if (builder.lone_surrogate()) fail_invalid("invalid JSON at byte {}: a lone surrogate", stream.Tell());
  if (result.IsError())
    fail_invalid("invalid JSON at byte {}: {}", result.Offset(), rapidjson::GetParseError_En(result.Code()));
  return builder.result();
}

bool Json::is_integer() const { return kind_ == Kind::number && is_integer_text(text_); }

std::string_view Json::kind_name() const {
  switch (kind_) {
    case Kind::null: return "null";
    case Kind::boolean: return "a boolean";
    case Kind::number: return is_integer() ? "an integer" : "a number";
    case Kind::string: return "a string";
    case Kind::array: return "an array";
    case Kind::object: return "an object";
  }
  return "";
}

bool Json::as_boolean() const {
  if (kind_ != Kind::boolean) fail_invalid("expected true or false, found {}", kind_name());
  return boolean_;
}

int64_t Json::as_integer() const {
  if (kind_ != Kind::number) fail_invalid("expected an integer, found {}", kind_name());
  if (is_integer()) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc() || end != text_.data() + text_.size())
      fail_invalid("expected a 64-bit integer, found {}", printable(text_));
    return value;
  }
  const double value = parse_double(text_);
  if (!(std::abs(value) < 9.0e15) || value != std::floor(value))
    fail_invalid("expected an integer, found {}", printable(text_));
  return static_cast<int64_t>(value);
}

double Json::as_double() const {
  if (kind_ != Kind::number) fail_invalid("expected a number, found {}", kind_name());
  return parse_double(text_);
}

const std::string& Json::as_string() const {
  if (kind_ != Kind::string) fail_invalid("expected a string, found {}", kind_name());
  return text_;
}

const std::vector<Json>& Json::as_array() const {
  if (kind_ != Kind::array) fail_invalid("expected an array, found {}", kind_name());
  return items_;
}

const std::vector<Json::Member>& Json::as_object() const {
  if (kind_ != Kind::object) fail_invalid("expected an object, found {}", kind_name());
  return members_;
}

const Json* Json::find(std::string_view name) const {
  for (const Member& member : members_)
    if (member.first == name) return &member.second;
  return nullptr;
}

const Json* Json::find_value(std::string_view name) const {
  const Json* value = find(name);
  return value && !value->is_null() ? value : nullptr;
}

const Json& Json::required(std::string_view name) const {
  as_object();
  const Json* value = find_value(name);
  if (!value) fail_invalid("{}: missing", name);
  return *value;
}

int64_t Json::integer(std::string_view name) const {
  const Json& value = required(name);
  return with_context(name, [&] { return value.as_integer(); });
}

int64_t Json::integer_or(std::string_view name, int64_t fallback) const {
  const Json* value = find_value(name);
  return value ? with_context(name, [&] { return value->as_integer(); }) : fallback;
}

double Json::number(std::string_view name) const {
  const Json& value = required(name);
  return with_context(name, [&] { return value.as_double(); });
}

double Json::number_or(std::string_view name, double fallback) const {
  const Json* value = find_value(name);
  return value ? with_context(name, [&] { return value->as_double(); }) : fallback;
}

bool Json::boolean_or(std::string_view name, bool fallback) const {
  const Json* value = find_value(name);
  return value ? with_context(name, [&] { return value->as_boolean(); }) : fallback;
}

std::string Json::string_or(std::string_view name, std::string_view fallback) const {
  const Json* value = find_value(name);
  return value ? with_context(name, [&] { return value->as_string(); }) : std::string(fallback);
}

Json& Json::set(std::string_view name, Json value) {
  CHECK(kind_ == Kind::object, "set on a Json that is no object");
  for (Member& member : members_) {
    if (member.first == name) {
      member.second = std::move(value);
      return *this;
    }
  }
  members_.emplace_back(name, std::move(value));
  return *this;
}

Json& Json::push_back(Json value) {
  CHECK(kind_ == Kind::array, "push_back on a Json that is no array");
  items_.push_back(std::move(value));
  return *this;
}

std::string json_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        else
          out += c;
    }
  }
  return out + "\"";
}

std::string python_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  // Shortest digits in scientific form, laid out by Python's rule: an exponent below -4 or from 16 on is written.
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const size_t exponent_at = text[e + 1] == '+' ? e + 2 : e + 1;
  std::from_chars(text.data() + exponent_at, end, exponent);
  const bool negative = text[0] == '-';
  std::string digits;
  for (const char c : text.substr(0, e))
    if (c >= '0' && c <= '9') digits += c;
  std::string out = negative ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

namespace {

void dump_to(std::string& out, const Json& json, std::string_view comma, std::string_view colon, bool python) {
  switch (json.kind()) {
    case Json::Kind::null: out += "null"; break;
    case Json::Kind::boolean: out += json.as_boolean() ? "true" : "false"; break;
    case Json::Kind::number: out += python ? python_number(json.number_text()) : json.number_text(); break;
    case Json::Kind::string: out += json_quote(json.as_string()); break;
    case Json::Kind::array: {
      out += '[';
      bool first = true;
      for (const Json& item : json.as_array()) {
        if (!std::exchange(first, false)) out += comma;
        dump_to(out, item, comma, colon, python);
      }
      out += ']';
      break;
    }
    case Json::Kind::object: {
      out += '{';
      bool first = true;
      for (const auto& [name, value] : json.as_object()) {
        if (!std::exchange(first, false)) out += comma;
        out += json_quote(name);
        out += colon;
        dump_to(out, value, comma, colon, python);
      }
      out += '}';
      break;
    }
  }
}

}  // namespace

std::string Json::dump() const {
  std::string out;
  dump_to(out, *this, ",", ":", false);
  return out;
}

std::string Json::dump_python() const {
  std::string out;
  dump_to(out, *this, ", ", ": ", true);
  return out;
}

}  // namespace qwill
