// The published chat templates of the Qwen3 family, written natively: JSON request in, prompt text out.
//
// Each is equal, byte for byte, to what transformers 5.17 renders from the published Jinja text (tests/data/templates:
// the texts, where they come from, and goldens). The differences are deliberate, and only these:
//   - `content` that is a list of parts is flattened: the texts of its {"type": "text", "text": …} parts, joined.
//     (The published texts raise an error, print a Python repr, or silently leave the message empty.)
//   - `content` that is null or absent is empty. (Some published texts raise an error, or print "None".)
//   - Qwen3-Coder: a call's `arguments` may be the text of a JSON object, as OpenAI's API has it. (The text raises.)
//   - `messages` or `tools` of the wrong type are errors. (Some texts skip a message that is no object.)
// Where the reference raises an error, so does qwill: Error(invalid), one line that names the place, such as
// "messages[1].tool_calls[0].arguments: missing".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace qwill {

enum class TemplateKind {
  qwen3_2504,                // the hybrid models' first text (2025-04-28), also the Base models' since that day
  qwen3_2025,                // their revision (2025-05-19): `content is string` guards
  qwen3_instruct_2507,       // Instruct-2507 since 2025-09-17: no reasoning at all
  qwen3_instruct_2507_july,  // Instruct-2507 as first published: the revision without enable_thinking
  qwen3_thinking_2507,       // the generation prompt opens <think>
  qwen3_base,                // the Base models' first text, which Qwen2.5's base models have too
  qwen2_5,                   // Qwen2.5 Instruct
  qwen3_coder,               // Qwen3-Coder since 2025-08-21: tool calls as XML
};

// A piece of a prompt. Trusted: the template's own words, in which special tokens count. Untrusted: what came with the
// request (contents, reasoning, tool definitions, names and arguments of calls), in which they may be taken as text.
// A tokenizer must still read the pieces as one text: only the matching of special tokens differs.
struct PromptSegment {
  std::string text;
  bool trusted;
};

class ChatTemplate {
 public:
  // By its text; one newline more or less at the end does not matter, as it does not to Jinja.
  // Throws Error(unsupported) for an unknown one, saying how to name one.
  static ChatTemplate recognise(std::string_view template_text);
  // By its name, as --chat-template gives it. Throws Error(usage) that lists the names.
  static ChatTemplate named(std::string_view name);
  // "qwen3-2504, qwen3-2025, …"
  static std::string known_names();

  TemplateKind kind() const { return kind_; }
  std::string_view name() const;

  // request: {"messages": […], "tools": […], "add_generation_prompt": (true), "enable_thinking": …}; a null member
  // counts as absent. Other members are variables of the template: one text reads one (Qwen3-Coder's "system_message").
  // Throws Error(invalid) as told above.
  std::vector<PromptSegment> render_segments(const Json& request) const;
  // The same as one text.
  std::string render(const Json& request) const;

 private:
  explicit ChatTemplate(TemplateKind kind) : kind_(kind) {}
  TemplateKind kind_;
};

// The template text of a checkpoint: the file chat_template.jinja wins over the "chat_template" of
// tokenizer_config.json, which is a text or a list of {"name", "template"}, of which "tool_use" serves requests with
// tools and "default" the others (as in transformers). Nothing if the checkpoint has none.
// Throws Error(invalid) if "chat_template" is neither, or has no default.
std::optional<std::string> chat_template_text(const std::optional<std::string>& jinja_file,
                                              const Json& tokenizer_config, bool with_tools);

}  // namespace qwill
