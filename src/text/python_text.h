// What Python's str(), bool() and repr() make of a JSON value: the chat templates are written in Jinja, which prints,
// tests and joins values as Python does.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace qwill {

// str(value): a string as it is, "None", "True", 1e-05, {'a': [1, 'b']}. The reference for what repr() escapes is the
// Unicode 14.0 of Python 3.11 (tools/make_printable_table.py).
std::string python_str(const Json& value);

// bool(value): null, false, zeros and empty strings, arrays and objects are false.
bool python_truth(const Json& value);

// text.strip('\n'), text.lstrip('\n'), text.rstrip('\n').
std::string_view strip_newlines(std::string_view text);
std::string_view lstrip_newlines(std::string_view text);
std::string_view rstrip_newlines(std::string_view text);

// text.strip(): white space by Unicode (str.isspace). Precondition: well-formed UTF-8.
std::string_view strip_space(std::string_view text);

}  // namespace qwill
