// Lines of a log on standard error, written by a thread of their own: who logs never waits, not even for a terminal or
// a pipe that nobody reads. Lines that find no room then are dropped, the oldest first, and long ones are cut.
#pragma once

#include <memory>
#include <string>

namespace qwill {

class Log {
 public:
  Log();
  ~Log();  // writes what is left
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void line(const std::string& text);

 private:
  struct Sink;
  std::unique_ptr<Sink> sink_;
};

}  // namespace qwill
