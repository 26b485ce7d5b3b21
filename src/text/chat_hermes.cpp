#include "text/chat_hermes.h"

#include "text/python_text.h"

namespace qwill {
namespace {

constexpr std::string_view kToolsBefore =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>";
constexpr std::string_view kToolsAfter =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n"
    "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n";
constexpr std::string_view kEndOfThought = "</think>";

class Renderer {
 public:
  Renderer(const HermesStyle& style, const Json& request, Prompt& prompt)
      : style_(style), request_(request), messages_(request), prompt_(prompt) {}

  void render() {
    system_turn();
    if (style_.reasoning) find_last_query();
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (messages_.has_role(i, "user"))
        plain_turn("user", i);
      else if (messages_.has_role(i, "system") && i > 0)
        plain_turn("system", i);
      else if (messages_.has_role(i, "assistant"))
        qwen2() ? qwen2_assistant_turn(i) : assistant_turn(i);
      else if (messages_.has_role(i, "tool"))
        tool_response(i);
      // Other roles are left out, as the reference does.
    }
    if (wants_generation_prompt(request_)) generation_prompt();
  }

 private:
  bool qwen2() const { return !style_.default_system.empty(); }

  void system_turn() {
    const std::vector<const Json*> tools = tools_of(request_);
    const bool given = messages_.has_role(0, "system");
    if (tools.empty() && !given && !qwen2()) return;
    prompt_.own("<|im_start|>system\n");
    if (given)
      prompt_.foreign(qwen2() && !tools.empty() ? messages_.printed_content(0) : messages_.joined_content(0));
    else
      prompt_.own(style_.default_system);
    if (tools.empty()) {
      prompt_.own("<|im_end|>\n");
      return;
    }
    if (given || qwen2()) prompt_.own("\n\n");
    prompt_.own(kToolsBefore);
    for (const Json* tool : tools) {
      prompt_.own("\n");
      prompt_.foreign(tool->dump_python());
    }
    prompt_.own(kToolsAfter);
  }

  // The query is the last user message that is more than a tool's response in a user's clothes.
  void find_last_query() {
    last_query_ = messages_.size() - 1;
    for (size_t i = messages_.size(); i-- > 0;) {
      if (!messages_.has_role(i, "user")) continue;
      if (style_.guards_content && !messages_.content(i).is_string) continue;
      const std::string content = messages_.joined_content(i);
      if (content.starts_with("<tool_response>") && content.ends_with("</tool_response>")) continue;
      last_query_ = i;
      return;
    }
  }

  std::string content_to_join(size_t i) const {
    return style_.guards_content ? messages_.content(i).text : messages_.joined_content(i);
  }

  void plain_turn(std::string_view role, size_t i) {
    turn_start(role);
    prompt_.foreign(content_to_join(i));
    prompt_.own("<|im_end|>\n");
  }

  void turn_start(std::string_view role) {
    prompt_.own("<|im_start|>");
    prompt_.own(role);
    prompt_.own("\n");
  }

  void assistant_turn(size_t i) {
    std::string content = content_to_join(i);
    if (style_.reasoning)
      content = reasoned_content(i, std::move(content));
    else
      turn_start("assistant"), prompt_.foreign(content);
    const std::vector<const Json*> calls = tool_calls_of(messages_[i], i);
    for (size_t j = 0; j < calls.size(); ++j) {
      if (j > 0 || !content.empty()) prompt_.own("\n");
      const Json* function = calls[j]->find("function");
      const bool nested = function && python_truth(*function);
      tool_call(nested ? *function : *calls[j], i, j, nested ? ".function" : "");
    }
    prompt_.own("<|im_end|>\n");
  }

  // Writes the start of the turn, the reasoning where it is kept, and the content, which is returned without the
  // reasoning that it may have carried.
  std::string reasoned_content(size_t i, std::string content) {
    static const Json kNoReasoning("");
    const Json* reasoning = messages_[i].find(std::string_view("reasoning_content"));
    Json carried;
    const bool given = reasoning && (style_.guards_content ? reasoning->is_string() : !reasoning->is_null());
    if (!given) {
      reasoning = &kNoReasoning;
      if (const size_t end = content.find(kEndOfThought); end != std::string::npos) {
        std::string_view thought = rstrip_newlines(std::string_view(content).substr(0, end));
        if (const size_t start = thought.rfind("<think>"); start != std::string_view::npos)
          thought = thought.substr(start + std::string_view("<think>").size());
        carried = Json(lstrip_newlines(thought));
        reasoning = &carried;
        content =
            lstrip_newlines(std::string_view(content).substr(content.rfind(kEndOfThought) + kEndOfThought.size()));
      }
    }
    turn_start("assistant");
    const bool last = i + 1 == messages_.size();
    if (i > last_query_ && (last || python_truth(*reasoning))) {
      if (!reasoning->is_string())
        fail_invalid("messages[{}].reasoning_content: expected a string, found {}", i, reasoning->kind_name());
      prompt_.own("<think>\n");
      prompt_.foreign(strip_newlines(reasoning->as_string()));
      prompt_.own("\n</think>\n\n");
      prompt_.foreign(lstrip_newlines(content));
    } else {
      prompt_.foreign(content);
    }
    return content;
  }

  void qwen2_assistant_turn(size_t i) {
    const std::vector<const Json*> calls = tool_calls_of(messages_[i], i);
    if (calls.empty()) return plain_turn("assistant", i);
    prompt_.own("<|im_start|>assistant");
    const Content content = messages_.content(i);
    if (content.other ? python_truth(*content.other) : !content.text.empty()) {
      prompt_.own("\n");
      prompt_.foreign(messages_.joined_content(i));
    }
    for (size_t j = 0; j < calls.size(); ++j) {
      prompt_.own("\n");
      const Json* function = calls[j]->find("function");
      tool_call(function ? *function : *calls[j], i, j, function ? ".function" : "");
    }
    prompt_.own("<|im_end|>\n");
  }

  void tool_call(const Json& call, size_t i, size_t j, std::string_view where) {
    const Json* arguments = call.find("arguments");
    if (!arguments) fail_invalid("messages[{}].tool_calls[{}]{}.arguments: missing", i, j, where);
    prompt_.own("<tool_call>\n{\"name\": \"");
    if (const Json* name = call.find("name")) prompt_.foreign(python_str(*name));
    prompt_.own("\", \"arguments\": ");
    prompt_.foreign(arguments->is_string() && !qwen2() ? arguments->as_string() : arguments->dump_python());
    prompt_.own("}\n</tool_call>");
  }

  // Responses that follow one another share one user turn.
  void tool_response(size_t i) {
    if (i == 0 || !messages_.has_role(i - 1, "tool")) prompt_.own("<|im_start|>user");
    prompt_.own("\n<tool_response>\n");
    prompt_.foreign(style_.guards_content ? messages_.content(i).text : messages_.printed_content(i));
    prompt_.own("\n</tool_response>");
    if (i + 1 == messages_.size() || !messages_.has_role(i + 1, "tool")) prompt_.own("<|im_end|>\n");
  }

  void generation_prompt() {
    prompt_.own("<|im_start|>assistant\n");
    if (style_.opens_think) prompt_.own("<think>\n");
    const Json* enabled = request_.find("enable_thinking");
    if (style_.thinking_switch && enabled && enabled->is_boolean() && !enabled->as_boolean())
      prompt_.own("<think>\n\n</think>\n\n");
  }

  const HermesStyle& style_;
  const Json& request_;
  const Messages messages_;
  Prompt& prompt_;
  size_t last_query_ = 0;
};

}  // namespace

void render_hermes(const HermesStyle& style, const Json& request, Prompt& prompt) {
  Renderer(style, request, prompt).render();
}

}  // namespace qwill
