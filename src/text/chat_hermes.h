// The templates whose tool calls are Hermes JSON, <tool_call>{"name": …, "arguments": …}</tool_call>: all of Qwen2.5
// and Qwen3 but Coder. One text with the differences as settings.
#pragma once

#include <string_view>

#include "text/chat_parts.h"

namespace qwill {

struct HermesStyle {
  // Qwen2.5: the system turn of a chat that has none (empty: no turn). It goes with Qwen2.5's other ways: the system
  // text is printed, not joined; a tool call's arguments are always JSON, even a string's.
  std::string_view default_system = {};
  // `content is string` is asked first; anything else (but a list of parts) is empty.
  bool guards_content = false;
  // Assistant turns after the last query keep their reasoning, earlier ones drop it.
  bool reasoning = false;
  // enable_thinking: false appends an empty thought to the generation prompt.
  bool thinking_switch = false;
  // The generation prompt opens <think>.
  bool opens_think = false;
};

// Throws Error(invalid), see ChatTemplate::render_segments.
void render_hermes(const HermesStyle& style, const Json& request, Prompt& prompt);

}  // namespace qwill
