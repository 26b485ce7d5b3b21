#include "base/error.h"

#include <cstdio>
#include <cstdlib>

#include "base/utf8.h"

namespace qwill {

Error::Error(ErrorKind kind, const std::string& message)
    : std::runtime_error(printable(message, std::string::npos)), kind_(kind) {}

Error Error::within(std::string_view context) const { return Error(kind_, fmt::format("{}: {}", context, what())); }

void check_failed(const char* file, int line, const char* condition, const char* meaning) {
  fmt::print(stderr, "qwill: internal error at {}:{}: {} ({})\n", file, line, meaning, condition);
  std::abort();
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= max_bytes) return out + "…";
    const size_t n = utf8_sequence_length(text.substr(i));
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (n == 0 || c < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
      i += 1;
    } else {
      out += text.substr(i, n);
      i += n;
    }
  }
  return out;
}

}  // namespace qwill
