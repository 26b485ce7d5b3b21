// What a request's head says, read with suspicion.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace qwill::http {

// 24 hex digits.
std::string new_request_id();
// Whether a client's own id can do no harm in a log or a header.
bool is_sane_id(std::string_view id);

// The path of a request's target: of "/a%20b?c", "/a b". Nothing for what is none.
std::optional<std::string> path_of(std::string_view target);

// What servers and proxies would read in different ways, as two of them in a row could be made to do (RFC
// 9112, 3.2, 6.1 and 6.3). Empty: nothing. is_chunked: how the body was understood.
std::string ambiguity_of(const Headers& headers, bool is_http_1_1, bool is_chunked);

}  // namespace qwill::http
