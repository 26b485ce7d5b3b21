// Qwen3-Coder's template: tools and their calls as XML, <function=name><parameter=key>value</parameter></function>.
#pragma once

#include "text/chat_parts.h"

namespace qwill {

// Throws Error(invalid), see ChatTemplate::render_segments.
void render_coder(const Json& request, Prompt& prompt);

}  // namespace qwill
