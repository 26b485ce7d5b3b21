// Checked fields of JSON configurations. All throw Error(invalid) "KEY: what" and take null for absent.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace qwill {

// low … high, both included unless low is excluded. Infinity and NaN are never inside.
struct NumberRange {
  double low;
  double high;
  bool low_excluded = false;
};

int64_t bounded_integer(const Json& object, std::string_view key, int64_t low, int64_t high);
int64_t bounded_integer_or(const Json& object, std::string_view key, int64_t fallback, int64_t low, int64_t high);
double bounded_number(const Json& object, std::string_view key, NumberRange range);
double bounded_number_or(const Json& object, std::string_view key, double fallback, NumberRange range);

// One token id or a list of them; empty if absent. Ids are 0 … 2^31 − 1.
std::vector<int32_t> read_token_ids(const Json& object, std::string_view key);

}  // namespace qwill
