// Any JSON as a chat request, through every template: an Error of one line, or text in which nothing of the request is
// trusted. Texts of templates themselves: recognised or refused.
#include <cstdint>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/chat_template.h"

namespace {

using namespace qwill;

void check_one_line(const Error& e) {
  CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos, "an error of several lines");
}

void render(const ChatTemplate& chat, const Json& request) {
  try {
    std::string joined;
    for (const PromptSegment& segment : chat.render_segments(request)) {
      CHECK(!segment.text.empty(), "an empty segment");
      joined += segment.text;
    }
    CHECK(chat.render(request) == joined, "render and render_segments disagree");
    CHECK(find_invalid_utf8(joined) == std::string::npos, "a prompt that is not UTF-8");
  } catch (const Error& e) {
    check_one_line(e);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    ChatTemplate::recognise(text);
  } catch (const Error& e) {
    check_one_line(e);
  }
  try {
    const Json request = Json::parse(text);
    for (const char* name : {"qwen3-2504", "qwen3-2025", "qwen3-instruct-2507", "qwen3-instruct-2507-july",
                             "qwen3-thinking-2507", "qwen3-base", "qwen2.5", "qwen3-coder"})
      render(ChatTemplate::named(name), request);
    chat_template_text(std::nullopt, request, request.find("tools"));
  } catch (const Error& e) {
    check_one_line(e);
  }
  return 0;
}
