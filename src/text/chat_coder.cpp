#include "text/chat_coder.h"

#include <algorithm>
#include <initializer_list>

#include "text/python_text.h"

namespace qwill {
namespace {

constexpr std::string_view kDefaultSystem =
    "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks.";
constexpr std::string_view kToolsBefore = "\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>";
constexpr std::string_view kToolsAfter =
    "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
    "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
    "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
    "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
    "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within "
    "<tool_call></tool_call> XML tags\n"
    "- Required parameters MUST be specified\n"
    "- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT "
    "after\n"
    "- If there is no function call available, answer the question like normal with your current knowledge and do not "
    "tell the user about function calls\n"
    "</IMPORTANT>";

// Arrays and objects as JSON, anything else as Python prints it.
std::string value_text(const Json& value) {
  return value.is_array() || value.is_object() ? value.dump_python() : python_str(value);
}

class Renderer {
 public:
  Renderer(const Json& request, Prompt& prompt) : request_(request), messages_(request), prompt_(prompt) {}

  void render() {
    system_turn();
    first_ = messages_.has_role(0, "system") ? 1 : 0;
    for (size_t i = first_; i < messages_.size(); ++i) {
      if (messages_.has_role(i, "tool"))
        tool_response(i);
      else if (!messages_.has_role(i, "assistant") || !turn_with_calls(i))
        plain_turn(i);
    }
    if (wants_generation_prompt(request_)) prompt_.own("<|im_start|>assistant\n");
  }

 private:
  void system_turn() {
    const std::vector<const Json*> tools = tools_of(request_);
    // A system message without content is none at all; without the message, the request may set the variable.
    const bool message = messages_.has_role(0, "system");
    const Json* given = message ? messages_[0].find("content") : request_.find_value("system_message");
    if (!given && tools.empty()) return;
    prompt_.own("<|im_start|>system\n");
    if (!given)
      prompt_.own(kDefaultSystem);
    else if (message)
      prompt_.foreign(messages_.joined_content(0));
    else
      prompt_.foreign(with_context("system_message", [&] { return given->as_string(); }));
    if (!tools.empty()) {
      prompt_.own(kToolsBefore);
      for (const Json* tool : tools) {
        const Json* function = tool->find("function");
        tool_definition(function ? *function : *tool);
      }
      prompt_.own(kToolsAfter);
    }
    prompt_.own("<|im_end|>\n");
  }

  void tool_definition(const Json& tool) {
    prompt_.own("\n<function>\n<name>");
    if (const Json* name = tool.find("name")) prompt_.foreign(python_str(*name));
    prompt_.own("</name>");
    description(tool);
    prompt_.own("\n<parameters>");
    const Json* parameters = tool.find("parameters");
    const Json* properties = parameters ? parameters->find("properties") : nullptr;
    if (properties && properties->is_object())
      for (const auto& [name, fields] : properties->as_object()) parameter(name, fields);
    if (parameters) other_members(*parameters, {"type", "properties"});
    prompt_.own("\n</parameters>");
    other_members(tool, {"type", "name", "description", "parameters"});
    prompt_.own("\n</function>");
  }

  void parameter(std::string_view name, const Json& fields) {
    prompt_.own("\n<parameter>\n<name>");
    prompt_.foreign(name);
    prompt_.own("</name>");
    if (const Json* type = fields.find("type")) {
      prompt_.own("\n<type>");
      prompt_.foreign(python_str(*type));
      prompt_.own("</type>");
    }
    description(fields);
    other_members(fields, {"name", "type", "description"});
    prompt_.own("\n</parameter>");
  }

  void description(const Json& object) {
    const Json* text = object.find("description");
    if (!text) return;
    prompt_.own("\n<description>");
    prompt_.foreign(strip_space(python_str(*text)));
    prompt_.own("</description>");
  }

  void other_members(const Json& object, std::initializer_list<std::string_view> handled) {
    if (!object.is_object()) return;
    for (const auto& [name, value] : object.as_object()) {
      if (std::find(handled.begin(), handled.end(), name) != handled.end()) continue;
      prompt_.own("\n<");
      prompt_.foreign(name);
      prompt_.own(">");
      prompt_.foreign(value_text(value));
      prompt_.own("</");
      prompt_.foreign(name);
      prompt_.own(">");
    }
  }

  // Any role gets a turn, under its own name.
  void plain_turn(size_t i) {
    const Json* role = messages_[i].find("role");
    if (!role || !role->is_string())
      fail_invalid("messages[{}].role: expected a string, found {}", i, role ? role->kind_name() : "nothing");
    prompt_.own("<|im_start|>");
    const std::string& name = role->as_string();
    name == "user" || name == "system" || name == "assistant" ? prompt_.own(name) : prompt_.foreign(name);
    prompt_.own("\n");
    prompt_.foreign(messages_.joined_content(i));
    prompt_.own("<|im_end|>\n");
  }

  // False if the message has no tool calls.
  bool turn_with_calls(size_t i) {
    const Json* given = messages_[i].find("tool_calls");
    // Jinja asks whether it is iterable: true and numbers are not.
    if (!given || given->is_boolean() || given->is_number()) return false;
    const std::vector<const Json*> calls = tool_calls_of(messages_[i], i);
    if (calls.empty()) return false;
    prompt_.own("<|im_start|>assistant");
    const std::string content = messages_.content(i).text;
    if (const std::string_view text = strip_space(content); !text.empty()) {
      prompt_.own("\n");
      prompt_.foreign(text);
      prompt_.own("\n");
    }
    for (size_t j = 0; j < calls.size(); ++j) {
      const Json* function = calls[j]->find("function");
      tool_call(function ? *function : *calls[j],
                fmt::format("messages[{}].tool_calls[{}]{}", i, j, function ? ".function" : ""));
    }
    prompt_.own("<|im_end|>\n");
    return true;
  }

  void tool_call(const Json& call, const std::string& where) {
    const Json* name = call.find("name");
    if (!name || !name->is_string())
      fail_invalid("{}.name: expected a string, found {}", where, name ? name->kind_name() : "nothing");
    prompt_.own("\n<tool_call>\n<function=");
    prompt_.foreign(name->as_string());
    prompt_.own(">\n");
    if (const Json* arguments = call.find("arguments")) {
      // OpenAI's API carries arguments as the text of a JSON object; the published text takes objects only.
      const Json parsed = arguments->is_string()
                              ? with_context(where + ".arguments", [&] { return Json::parse(arguments->as_string()); })
                              : *arguments;
      if (!parsed.is_object()) fail_invalid("{}.arguments: expected an object, found {}", where, parsed.kind_name());
      for (const auto& [key, value] : parsed.as_object()) {
        prompt_.own("<parameter=");
        prompt_.foreign(key);
        prompt_.own(">\n");
        prompt_.foreign(value_text(value));
        prompt_.own("\n</parameter>\n");
      }
    }
    prompt_.own("</function>\n</tool_call>");
  }

  // Responses that follow one another share one user turn; the published text opens none for a response without a
  // message before it.
  void tool_response(size_t i) {
    if (i > first_ && !messages_.has_role(i - 1, "tool")) prompt_.own("<|im_start|>user\n");
    prompt_.own("<tool_response>\n");
    prompt_.foreign(messages_.printed_content(i));
    prompt_.own("\n</tool_response>\n");
    if (i + 1 == messages_.size() || !messages_.has_role(i + 1, "tool")) prompt_.own("<|im_end|>\n");
  }

  const Json& request_;
  const Messages messages_;
  Prompt& prompt_;
  size_t first_ = 0;  // the message after the system turn
};

}  // namespace

void render_coder(const Json& request, Prompt& prompt) { Renderer(request, prompt).render(); }

}  // namespace qwill
