#include "hub/hub_name.h"

#include <algorithm>

namespace qwill {
namespace {

constexpr size_t kMaxName = 200, kMaxSnapshot = 100, kMaxFileName = 255;

bool is_hub_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

// Words of such characters between slashes; none is empty or begins with a dot, and ".." is nowhere.
bool is_path_of_words(std::string_view text) {
  if (text.empty() || text.size() > kMaxName || text.front() == '/' || text.back() == '/' || text.front() == '.')
    return false;
  for (const std::string_view bad : {"..", "/.", "//"})
    if (text.find(bad) != std::string_view::npos) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '/' || is_hub_character(c); });
}

}  // namespace

std::optional<HubName> HubName::parse(std::string_view text) {
  HubName out;
  const size_t at = text.find('@');
  out.name = text.substr(0, at);
  if (at != std::string_view::npos) out.revision = text.substr(at + 1);
  const bool one_owner = std::count(out.name.begin(), out.name.end(), '/') <= 1;
  if (!one_owner || !is_path_of_words(out.name) || !is_hub_revision(out.revision)) return std::nullopt;
  return out;
}

bool is_hub_revision(std::string_view text) { return is_path_of_words(text); }

bool is_hub_snapshot(std::string_view text) {
  return !text.empty() && text.size() <= kMaxSnapshot && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), is_hub_character);
}

bool is_plain_file_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxFileName && text.front() != '.' &&
         std::none_of(text.begin(), text.end(), [](char c) {
           return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

}  // namespace qwill
