// Ctrl-C and SIGTERM. They end the program at once with 128 + the signal, unless a command has asked to be told
// instead.
#pragma once

#include <atomic>
#include <string>

namespace qwill::cli {

// Installs the handlers for SIGINT, SIGTERM and SIGBUS (a mapped file that shrank), and ignores SIGPIPE.
void install_signal_handlers();

// What a signal that ends the program at once prints on stdout first; empty: nothing.
void set_last_words(std::string text);

// While it lives, the first signal only sets interrupted(), so that the command can stop cleanly; the second ends the
// program at once. One at a time.
class CatchInterrupt {
 public:
  CatchInterrupt();
  ~CatchInterrupt();
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;
};

// Set once a signal was caught; commands that loop look at it between steps.
const std::atomic<bool>& interrupted();

// 128 + the signal that was caught, 0 if none was.
int interrupt_status();

// Whatever signal was caught has been obeyed, and the program ends well: with status 0.
void obeyed_interrupt();

// Forgets a Ctrl-C that was caught, now that it is obeyed: the command goes on. Other signals stay.
void forget_interrupt();

}  // namespace qwill::cli
