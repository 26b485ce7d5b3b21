// Tells an answer's reasoning from its content. Where it begins follows from how the rendered prompt ends, not from a
// flag: the templates differ in who writes "<think>".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qwill {

class ReasoningSplitter {
 public:
  enum class Start : uint8_t {
    content,    // the prompt ends with a thought that is closed, or the answer is no chat: nothing is split
    maybe,      // the answer thinks if it begins with "<think>"
    reasoning,  // the prompt ends with "<think>"
  };
  // Of a rendered prompt.
  static Start start_of(std::string_view prompt);

  explicit ReasoningSplitter(Start start) : state_(start) {}

  struct Text {
    std::string reasoning, content;
  };
  // What is certain once `piece` is known, without the tags and the line breaks beside them. The same in total however
  // the answer is cut into pieces.
  Text push(std::string_view piece);
  Text finish();

 private:
  void split(Text& out, bool last);

  Start state_;
  std::string held_;
  bool at_start_ = true;  // of the reasoning, or of the content behind it: line breaks are dropped
  bool after_ = false;    // behind the reasoning
};

}  // namespace qwill
