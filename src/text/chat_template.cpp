#include "text/chat_template.h"

#include "base/error.h"
#include "base/fnv1a.h"
#include "text/chat_coder.h"
#include "text/chat_hermes.h"
#include "text/chat_parts.h"

namespace qwill {
namespace {

struct Named {
  TemplateKind kind;
  std::string_view name;
  HermesStyle style;
};

constexpr Named kTemplates[] = {
    {TemplateKind::qwen3_2504, "qwen3-2504", {.reasoning = true, .thinking_switch = true}},
    {TemplateKind::qwen3_2025, "qwen3-2025", {.guards_content = true, .reasoning = true, .thinking_switch = true}},
    {TemplateKind::qwen3_instruct_2507, "qwen3-instruct-2507", {.guards_content = true}},
    {TemplateKind::qwen3_instruct_2507_july, "qwen3-instruct-2507-july", {.guards_content = true, .reasoning = true}},
    {TemplateKind::qwen3_thinking_2507,
     "qwen3-thinking-2507",
     {.guards_content = true, .reasoning = true, .opens_think = true}},
    {TemplateKind::qwen3_base, "qwen3-base", {.default_system = "You are a helpful assistant."}},
    {TemplateKind::qwen2_5,
     "qwen2.5",
     {.default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."}},
    {TemplateKind::qwen3_coder, "qwen3-coder", {}},  // not of the Hermes style
};

// The published texts without their last newline.
struct KnownText {
  size_t size_bytes;
  uint64_t fnv1a;
  TemplateKind kind;
};

constexpr KnownText kTexts[] = {
    {4116, 0x2bfdb7aa9754484e, TemplateKind::qwen3_2504},
    {4168, 0x959a4551391a6549, TemplateKind::qwen3_2025},
    {2630, 0x3751fe8ea48448ab, TemplateKind::qwen3_instruct_2507},
    {4040, 0x69358583e08559db, TemplateKind::qwen3_instruct_2507_july},
    {4049, 0xcd0d41a64dfce181, TemplateKind::qwen3_thinking_2507},
    {2426, 0x16bc91fc7006a16d, TemplateKind::qwen3_base},
    {2506, 0xe642ce246d7f2e3d, TemplateKind::qwen2_5},
    {6210, 0x317b88632f7d850d, TemplateKind::qwen3_coder},
};

const Named& entry(TemplateKind kind) {
  for (const Named& named : kTemplates)
    if (named.kind == kind) return named;
  CHECK(false, "a template without an entry");
}

}  // namespace

ChatTemplate ChatTemplate::recognise(std::string_view template_text) {
  if (template_text.ends_with('\n')) template_text.remove_suffix(1);
  const uint64_t hash = fnv1a(template_text);
  for (const KnownText& known : kTexts)
    if (known.size_bytes == template_text.size() && known.fnv1a == hash) return ChatTemplate(known.kind);
  fail_unsupported(
      "chat template of {} bytes (FNV-1a {:016x}): not one that qwill knows; name the one to use with "
      "--chat-template NAME, one of {}",
      template_text.size(), hash, known_names());
}

ChatTemplate ChatTemplate::named(std::string_view name) {
  for (const Named& named : kTemplates)
    if (named.name == name) return ChatTemplate(named.kind);
  throw Error(ErrorKind::usage,
              fmt::format("--chat-template: no template \"{}\"; known are {}", printable(name), known_names()));
}

std::string ChatTemplate::known_names() {
  std::string names;
  for (const Named& named : kTemplates) {
    if (!names.empty()) names += ", ";
    names += named.name;
  }
  return names;
}

std::string_view ChatTemplate::name() const { return entry(kind_).name; }

std::vector<PromptSegment> ChatTemplate::render_segments(const Json& request) const {
  Prompt prompt;
  if (kind_ == TemplateKind::qwen3_coder)
    render_coder(request, prompt);
  else
    render_hermes(entry(kind_).style, request, prompt);
  return prompt.take();
}

std::string ChatTemplate::render(const Json& request) const {
  std::string text;
  for (const PromptSegment& segment : render_segments(request)) text += segment.text;
  return text;
}

std::optional<std::string> chat_template_text(const std::optional<std::string>& jinja_file,
                                              const Json& tokenizer_config, bool with_tools) {
  if (jinja_file) return jinja_file;
  tokenizer_config.as_object();
  const Json* value = tokenizer_config.find_value("chat_template");
  if (!value) return std::nullopt;
  if (value->is_string()) return value->as_string();
  if (!value->is_array())
    fail_invalid("chat_template: expected a string or a list of templates, found {}", value->kind_name());
  const Json* by_default = nullptr;
  const Json* for_tools = nullptr;
  for (const Json& item : value->as_array()) {
    const std::string name = item.string_or("name", "");
    if (name == "default") by_default = item.find_value("template");
    if (name == "tool_use") for_tools = item.find_value("template");
  }
  const Json* chosen = with_tools && for_tools ? for_tools : by_default;
  if (!chosen || !chosen->is_string())
    fail_invalid("chat_template: no template named \"default\" in the list; name one with --chat-template");
  return chosen->as_string();
}

}  // namespace qwill
