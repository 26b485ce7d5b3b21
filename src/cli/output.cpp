#include "cli/output.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <iterator>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/utf8.h"

namespace qwill::cli {

void write_stdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EPIPE) {
      throw OutputClosed{};
    } else if (errno != EINTR) {
      fail(ErrorKind::io, "cannot write to stdout: {}", std::strerror(errno));
    }
  }
}

std::string read_stdin() {
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  if (std::cin.bad()) fail(ErrorKind::io, "cannot read stdin");
  return text;
}

bool read_stdin_line(std::string& line) {
  if (std::getline(std::cin, line)) return true;
  if (std::cin.bad()) fail(ErrorKind::io, "cannot read stdin");
  return false;
}

std::string read_file(const std::string& path) { return std::string(MappedFile::open(path).text()); }

void require_utf8(std::string_view text, std::string_view where) {
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
    fail_invalid("{}: not UTF-8 at byte {}", where, bad);
}

bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) != 0; }
bool stdin_is_terminal() { return ::isatty(STDIN_FILENO) != 0; }
bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) != 0; }

void warn(std::string_view message) { fmt::print(stderr, "qwill: {}\n", message); }

}  // namespace qwill::cli
