// Watches a stream of text for strings that end it, also where they lie across the borders of its pieces.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qwill {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Text that is certain not to belong to a stop string, once `piece` is known. When a stop string has appeared, the
  // text before it; found() then names it and later pieces are ignored. The one that is complete first wins, of two
  // that are complete at once the longer: so the answer does not depend on where the text was cut into pieces.
  std::string push(std::string_view piece);
  // The text that was held back.
  std::string finish();
  const std::optional<std::string>& found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  std::optional<std::string> found_;
};

}  // namespace qwill
