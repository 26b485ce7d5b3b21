// The answer to a request for text: runs its choices on the engine and writes them, whole or as a stream.
#pragma once

#include <functional>
#include <memory>

#include "http/exchange.h"
#include "server/openai_request.h"
#include "server/served_model.h"

namespace qwill {

// Runs f soon, on a thread that may be kept busy for a while.
using Later = std::function<void(std::function<void()> f)>;

// Begins, and returns at once. If the client goes away all is cancelled. Throws Error if a request is not taken; then
// nothing is answered yet. model and later must outlive the answer.
void generate(std::shared_ptr<http::Exchange> exchange, ServedModel& model, ApiRequest request, const Later& later);

}  // namespace qwill
