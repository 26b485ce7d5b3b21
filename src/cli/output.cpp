#include "cli/output.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace qwill::cli {
namespace {

std::string g_unread;  // read from stdin, and not yet asked for

// Appends what stdin has; false at its end.
bool read_more() {
  char buffer[size_t{1} << 16];
  ssize_t count = 0;
  do count = ::read(STDIN_FILENO, buffer, sizeof buffer);
  while (count < 0 && errno == EINTR);
  if (count < 0) fail(ErrorKind::io, "cannot read stdin: {}", std::strerror(errno));
  g_unread.append(buffer, static_cast<size_t>(count));
  return count > 0;
}

}  // namespace

void reserve_standard_streams() {
  // The lowest free descriptor is the one given out. Each is opened for the wrong direction, so that its use still
  // fails.
  for (const auto& [descriptor, mode] :
       {std::pair{STDIN_FILENO, O_WRONLY}, {STDOUT_FILENO, O_RDONLY}, {STDERR_FILENO, O_RDONLY}})
    if (::fcntl(descriptor, F_GETFD) < 0) (void)::open("/dev/null", mode);
}

void write_stdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EPIPE) {
      throw OutputClosed{};
    } else if (errno == EAGAIN) {
      pollfd ready{STDOUT_FILENO, POLLOUT, 0};
      (void)::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      fail(ErrorKind::io, "cannot write to stdout: {}", std::strerror(errno));
    }
  }
}

std::string read_stdin() {
  while (read_more()) {
  }
  return std::exchange(g_unread, {});
}

bool read_stdin_line(std::string& line) {
  size_t searched = 0, end = 0;
  while ((end = g_unread.find('\n', searched)) == std::string::npos) {
    searched = g_unread.size();
    if (read_more()) continue;
    line = std::exchange(g_unread, {});
    return !line.empty();
  }
  line = g_unread.substr(0, end);
  g_unread.erase(0, end + 1);
  return true;
}

bool stdin_has_line() { return g_unread.find('\n') != std::string::npos; }

std::string read_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(ErrorKind::io, "{}: {}", path, std::strerror(errno));
  std::string text;
  char buffer[size_t{1} << 16];
  ssize_t count = 0;
  while ((count = ::read(descriptor, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(count));
  const int error = errno;
  ::close(descriptor);
  if (count < 0) fail(ErrorKind::io, "{}: {}", path, std::strerror(error));
  return text;
}

void require_utf8(std::string_view text, std::string_view where) {
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
    fail_invalid("{}: not UTF-8 at byte {}", where, bad);
}

bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) != 0; }
bool stdin_is_terminal() { return ::isatty(STDIN_FILENO) != 0; }

void warn(std::string_view message) { fmt::print(stderr, "qwill: {}\n", printable(message, std::string::npos)); }

}  // namespace qwill::cli
