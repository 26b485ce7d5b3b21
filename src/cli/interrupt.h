// Ctrl-C and SIGTERM: the first asks the command to stop cleanly, the second ends it at once.
#pragma once

#include <atomic>

namespace qwill::cli {

// Installs the handlers for SIGINT, SIGTERM and SIGBUS (a mapped file that shrank), and ignores SIGPIPE.
void install_signal_handlers();

// Set while a signal waits to be obeyed; commands that loop look at it between steps.
const std::atomic<bool>& interrupted();

// 128 + the signal that interrupted, 0 if none did.
int interrupt_status();

}  // namespace qwill::cli
