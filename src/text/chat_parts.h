// What the renderers of chat templates share: the prompt under construction, and access to a request's messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/chat_template.h"

namespace qwill {

class Prompt {
 public:
  // The template's own words.
  void own(std::string_view text) { add(text, true); }
  // Text of the request.
  void foreign(std::string_view text) { add(text, false); }
  std::vector<PromptSegment> take() { return std::move(segments_); }

 private:
  void add(std::string_view text, bool trusted);
  std::vector<PromptSegment> segments_;
};

// The content of a message: its text, where it is a string, a list of parts (flattened), null or absent (empty).
struct Content {
  std::string text;
  bool is_string = false;       // a string or a list of parts
  const Json* other = nullptr;  // a number, a boolean or an object: no text, but some templates print it
};

class Messages {
 public:
  // Throws Error(invalid) unless request has "messages", an array of at least one object.
  explicit Messages(const Json& request);

  size_t size() const { return items_.size(); }
  const Json& operator[](size_t i) const { return items_[i]; }
  bool has_role(size_t i, std::string_view role) const;
  // Throws Error(invalid) "messages[i].content[j]: …" for a part that is no text.
  Content content(size_t i) const;
  // The text for Jinja's `'…' + content`. Throws Error(invalid) "messages[i].content: …" if it has none.
  std::string joined_content(size_t i) const;
  // The text for Jinja's `{{ content }}`, which prints anything.
  std::string printed_content(size_t i) const;

 private:
  const std::vector<Json>& items_;
};

// The request's tools: none if absent, null or empty. Throws Error(invalid) unless they are an array of objects.
std::vector<const Json*> tools_of(const Json& request);

// The items of a message's tool_calls; none if it has no value that Jinja takes for true.
// Throws Error(invalid) "messages[i].tool_calls: …" unless they are an array of objects.
std::vector<const Json*> tool_calls_of(const Json& message, size_t message_idx);

bool wants_generation_prompt(const Json& request);

}  // namespace qwill
