// What is thrown when the outside world is wrong: a file, a flag, a request, a card.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace qwill {

// What the caller may do about an Error.
enum class ErrorKind {
  invalid,      // a file, a prompt or a request is wrong
  unsupported,  // well-formed, but something this build, machine or project does not do
  usage,        // a setting is out of range (on the command line: exit status 2)
  io,           // the operating system refused
  device,       // an accelerator failed
  busy,         // too much is queued: try again later
};

// The message is one line: what, where, what to do. Whatever it quotes, it is made printable.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message);
  ErrorKind kind() const { return kind_; }

  // The same error, told from one level further out: "context: message".
  Error within(std::string_view context) const;

 private:
  ErrorKind kind_;
};

}  // namespace qwill
