#include "weights/config_fields.h"

#include <limits>

#include "base/error.h"

namespace qwill {

int64_t bounded_integer(const Json& object, std::string_view key, int64_t low, int64_t high) {
  const int64_t value = object.integer(key);
  if (value < low || value > high) fail_invalid("{}: expected {} to {}, found {}", key, low, high, value);
  return value;
}

int64_t bounded_integer_or(const Json& object, std::string_view key, int64_t fallback, int64_t low, int64_t high) {
  return object.find_value(key) ? bounded_integer(object, key, low, high) : fallback;
}

double bounded_number(const Json& object, std::string_view key, NumberRange range) {
  const double value = object.number(key);
  const bool above_low = range.low_excluded ? value > range.low : value >= range.low;
  if (!above_low || !(value <= range.high))
    fail_invalid("{}: expected {}{} to {}, found {}", key, range.low_excluded ? "more than " : "", range.low,
                 range.high, value);
  return value;
}

double bounded_number_or(const Json& object, std::string_view key, double fallback, NumberRange range) {
  return object.find_value(key) ? bounded_number(object, key, range) : fallback;
}

std::vector<int32_t> read_token_ids(const Json& object, std::string_view key) {
  std::vector<int32_t> ids;
  const Json* value = object.find_value(key);
  if (!value) return ids;
  const auto add = [&](const Json& item) {
    const int64_t id = item.as_integer();
    if (id < 0 || id > std::numeric_limits<int32_t>::max()) fail_invalid("expected a token id, found {}", id);
    ids.push_back(static_cast<int32_t>(id));
  };
  with_context(key, [&] {
    if (!value->is_array()) return add(*value);
    for (const Json& item : value->as_array()) add(item);
  });
  return ids;
}

}  // namespace qwill
