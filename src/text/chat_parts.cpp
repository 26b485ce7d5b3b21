#include "text/chat_parts.h"

#include "text/python_text.h"

namespace qwill {
namespace {

const std::vector<Json>& message_items(const Json& request) {
  if (!request.is_object()) fail_invalid("the request: expected an object, found {}", request.kind_name());
  const Json* messages = request.find_value("messages");
  if (!messages) fail_invalid("messages: missing");
  if (!messages->is_array()) fail_invalid("messages: expected an array, found {}", messages->kind_name());
  if (messages->as_array().empty()) fail_invalid("messages: empty; a chat needs at least one message");
  return messages->as_array();
}

std::string flattened(const Json& parts, size_t message_idx) {
  std::string text;
  for (size_t j = 0; j < parts.as_array().size(); ++j) {
    const Json& part = parts.as_array()[j];
    const Json* type = part.find_value("type");
    if (type && !(type->is_string() && type->as_string() == "text"))
      fail_invalid("messages[{}].content[{}]: only parts of type \"text\" can be read, found {}", message_idx, j,
                   printable(type->dump()));
    const Json* part_text = part.find_value("text");
    if (part.is_string()) part_text = &part;
    if (!part_text || !part_text->is_string())
      fail_invalid("messages[{}].content[{}]: expected {{\"type\": \"text\", \"text\": \"…\"}}, found {}", message_idx,
                   j, printable(part.dump()));
    text += part_text->as_string();
  }
  return text;
}

}  // namespace

void Prompt::add(std::string_view text, bool trusted) {
  if (text.empty()) return;
  if (segments_.empty() || segments_.back().trusted != trusted) segments_.push_back({{}, trusted});
  segments_.back().text += text;
}

Messages::Messages(const Json& request) : items_(message_items(request)) {
  for (size_t i = 0; i < items_.size(); ++i)
    if (!items_[i].is_object()) fail_invalid("messages[{}]: expected an object, found {}", i, items_[i].kind_name());
}

bool Messages::has_role(size_t i, std::string_view role) const {
  const Json* value = items_[i].find("role");
  return value && value->is_string() && value->as_string() == role;
}

Content Messages::content(size_t i) const {
  const Json* value = items_[i].find_value("content");
  if (!value) return {};
  if (value->is_string()) return {value->as_string(), true, nullptr};
  if (value->is_array()) return {flattened(*value, i), true, nullptr};
  return {{}, false, value};
}

std::string Messages::joined_content(size_t i) const {
  Content content = this->content(i);
  if (content.other) fail_invalid("messages[{}].content: expected a string, found {}", i, content.other->kind_name());
  return std::move(content.text);
}

std::string Messages::printed_content(size_t i) const {
  Content content = this->content(i);
  return content.other ? python_str(*content.other) : std::move(content.text);
}

std::vector<const Json*> tools_of(const Json& request) {
  const Json* tools = request.find_value("tools");
  if (!tools) return {};
  if (!tools->is_array()) fail_invalid("tools: expected an array, found {}", tools->kind_name());
  std::vector<const Json*> items;
  for (const Json& tool : tools->as_array()) {
    if (!tool.is_object()) fail_invalid("tools[{}]: expected an object, found {}", items.size(), tool.kind_name());
    items.push_back(&tool);
  }
  return items;
}

std::vector<const Json*> tool_calls_of(const Json& message, size_t message_idx) {
  const Json* calls = message.find("tool_calls");
  if (!calls || !python_truth(*calls)) return {};
  if (!calls->is_array())
    fail_invalid("messages[{}].tool_calls: expected an array, found {}", message_idx, calls->kind_name());
  std::vector<const Json*> items;
  for (const Json& call : calls->as_array()) {
    if (!call.is_object())
      fail_invalid("messages[{}].tool_calls[{}]: expected an object, found {}", message_idx, items.size(),
                   call.kind_name());
    items.push_back(&call);
  }
  return items;
}

bool wants_generation_prompt(const Json& request) {
  const Json* wanted = request.find_value("add_generation_prompt");
  return !wanted || python_truth(*wanted);
}

}  // namespace qwill
