#include "server/reasoning.h"

#include <algorithm>

namespace qwill {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>", kSpace = " \t\r\n";

std::string_view without_space_at_end(std::string_view text) {
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

// Bytes at the end of text that may be the beginning of tag.
size_t begun_tag(std::string_view text, std::string_view tag) {
  for (size_t size = std::min(text.size(), tag.size() - 1); size > 0; --size)
    if (text.ends_with(tag.substr(0, size))) return size;
  return 0;
}

}  // namespace

ReasoningSplitter::Start ReasoningSplitter::start_of(std::string_view prompt) {
  const std::string_view end = without_space_at_end(prompt);
  if (end.ends_with(kClose)) return Start::content;
  if (end.ends_with(kOpen)) return Start::reasoning;
  return Start::maybe;
}

ReasoningSplitter::Text ReasoningSplitter::push(std::string_view piece) {
  held_ += piece;
  Text out;
  split(out, false);
  return out;
}

ReasoningSplitter::Text ReasoningSplitter::finish() {
  Text out;
  split(out, true);
  return out;
}

void ReasoningSplitter::split(Text& out, bool last) {
  if (state_ == Start::maybe) {
    const size_t first = held_.find_first_not_of(kSpace);
    const std::string_view begun = std::string_view(held_).substr(std::min(first, held_.size()));
    if (begun.starts_with(kOpen)) {
      held_.erase(0, first + kOpen.size());
      state_ = Start::reasoning;
    } else if (last || !kOpen.starts_with(begun)) {
      state_ = Start::content;
    } else {
      return;
    }
  }
  if (state_ == Start::reasoning) {
    if (at_start_) {
      const size_t first = held_.find_first_not_of('\n');
      held_.erase(0, first);
      if (held_.empty()) return;
      at_start_ = false;
    }
    const size_t close = held_.find(kClose);
    if (close != std::string::npos) {
      out.reasoning = without_space_at_end(std::string_view(held_).substr(0, close));
      held_.erase(0, close + kClose.size());
      state_ = Start::content;
      at_start_ = after_ = true;
    } else {
      // What may belong to the tag, and the white space before it, waits.
      const std::string_view sure =
          last ? std::string_view(held_) : std::string_view(held_).substr(0, held_.size() - begun_tag(held_, kClose));
      const size_t size = without_space_at_end(sure).size();
      out.reasoning = held_.substr(0, size);
      held_.erase(0, size);
      return;
    }
  }
  if (after_ && at_start_) {
    held_.erase(0, held_.find_first_not_of('\n'));
    if (held_.empty()) return;
    at_start_ = false;
  }
  out.content = std::move(held_);
  held_.clear();
}

}  // namespace qwill
