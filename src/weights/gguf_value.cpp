#include "weights/gguf_value.h"

#include <charconv>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace qwill {
namespace {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

bool is_integer(GgufType type) {
  return gguf_type_bytes(type) != 0 && type != GgufType::f32 && type != GgufType::f64 && type != GgufType::boolean;
}

int64_t load_integer(GgufType type, const std::byte* from) {
  switch (type) {
    case GgufType::u8: return load<uint8_t>(from);
    case GgufType::i8: return load<int8_t>(from);
    case GgufType::u16: return load<uint16_t>(from);
    case GgufType::i16: return load<int16_t>(from);
    case GgufType::u32: return load<uint32_t>(from);
    case GgufType::i32: return load<int32_t>(from);
    case GgufType::u64: {
      const uint64_t value = load<uint64_t>(from);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) fail_invalid("{} is too large", value);
      return static_cast<int64_t>(value);
    }
    default: return load<int64_t>(from);
  }
}

// The shortest decimal number that the float stands for: 0.6 rather than 0.60000002384, as it was before someone stored
// it in so few bits.
double meant_by(float value) {
  char text[64];
  const char* const end = std::to_chars(text, text + sizeof text, value).ptr;
  double meant = value;
  std::from_chars(text, end, meant);
  return meant;
}

std::string_view kind_of(GgufType type) {
  if (type == GgufType::string) return "a string";
  if (type == GgufType::boolean) return "a boolean";
  return is_integer(type) ? "an integer" : "a number";
}

}  // namespace

std::string_view GgufValue::kind_name() const {
  if (type_ != GgufType::array) return kind_of(type_);
  if (element_ == GgufType::string) return "a list of strings";
  if (element_ == GgufType::boolean) return "a list of booleans";
  return is_integer(element_) ? "a list of integers" : "a list of numbers";
}

void GgufValue::fail_kind(std::string_view expected) const {
  fail_invalid("expected {}, found {}", expected, kind_name());
}

bool GgufValue::as_boolean() const {
  if (type_ != GgufType::boolean) fail_kind("a boolean");
  return load<uint8_t>(bytes_.data()) != 0;
}

int64_t GgufValue::as_integer() const {
  if (!is_integer(type_)) fail_kind("an integer");
  return load_integer(type_, bytes_.data());
}

double GgufValue::as_number() const {
  if (type_ == GgufType::f32) return meant_by(load<float>(bytes_.data()));
  if (type_ == GgufType::f64) return load<double>(bytes_.data());
  if (!is_integer(type_)) fail_kind("a number");
  return static_cast<double>(load_integer(type_, bytes_.data()));
}

std::string_view GgufValue::as_string() const {
  if (type_ != GgufType::string) fail_kind("a string");
  return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
}

std::vector<int64_t> GgufValue::as_integers() const {
  if (type_ != GgufType::array || !is_integer(element_)) fail_kind("a list of integers");
  const uint64_t size = gguf_type_bytes(element_);
  std::vector<int64_t> values;
  values.reserve(count_);
  for (uint64_t i = 0; i < count_; ++i) values.push_back(load_integer(element_, bytes_.data() + i * size));
  return values;
}

std::vector<std::string_view> GgufValue::as_strings() const {
  if (type_ != GgufType::array || element_ != GgufType::string) fail_kind("a list of strings");
  std::vector<std::string_view> values;
  values.reserve(count_);
  const char* next = reinterpret_cast<const char*>(bytes_.data());
  for (uint64_t i = 0; i < count_; ++i) {
    const uint64_t length = load<uint64_t>(reinterpret_cast<const std::byte*>(next));
    values.emplace_back(next + sizeof length, length);
    next += sizeof length + length;
  }
  return values;
}

}  // namespace qwill
