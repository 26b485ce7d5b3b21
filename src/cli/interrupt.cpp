#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <cstring>

namespace qwill::cli {
namespace {

std::atomic<bool> g_interrupted{false};
volatile sig_atomic_t g_signal = 0;

extern "C" void on_interrupt(int signal) {
  if (g_interrupted.exchange(true)) ::_exit(128 + signal);
  g_signal = signal;
}

extern "C" void on_bus_error(int signal) {
  constexpr char kMessage[] = "qwill: a model file became shorter while it was in use: is it still being written?\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  ::_exit(signal == SIGBUS ? 1 : 128 + signal);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(signal, &action, nullptr);  // no SA_RESTART: a blocked read ends with the signal
}

}  // namespace

void install_signal_handlers() {
  handle(SIGINT, on_interrupt);
  handle(SIGTERM, on_interrupt);
  handle(SIGBUS, on_bus_error);
  handle(SIGPIPE, SIG_IGN);
}

const std::atomic<bool>& interrupted() { return g_interrupted; }

int interrupt_status() { return g_signal ? 128 + g_signal : 0; }

}  // namespace qwill::cli
