#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <utility>

namespace qwill::cli {
namespace {

std::atomic<bool> g_catching{false}, g_interrupted{false};
std::atomic<int> g_signal{0};
std::atomic<const std::string*> g_last_words{nullptr};  // read by a handler, so never freed

extern "C" void on_interrupt(int signal) {
  if (g_catching && !g_interrupted.exchange(true)) {
    g_signal = signal;
    return;
  }
  if (const std::string* words = g_last_words; words && !g_interrupted) {
    [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, words->data(), words->size());
  }
  ::_exit(128 + signal);
}

extern "C" void on_bus_error(int) {
  constexpr char kMessage[] = "qwill: a model file became shorter while it was in use: is it still being written?\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  ::_exit(1);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

void install_signal_handlers() {
  handle(SIGINT, on_interrupt);
  handle(SIGTERM, on_interrupt);
  handle(SIGBUS, on_bus_error);
  handle(SIGPIPE, SIG_IGN);
}

void set_last_words(std::string text) { g_last_words = new std::string(std::move(text)); }

CatchInterrupt::CatchInterrupt() { g_catching = true; }
CatchInterrupt::~CatchInterrupt() { g_catching = false; }

const std::atomic<bool>& interrupted() { return g_interrupted; }

int interrupt_status() { return g_signal ? 128 + g_signal : 0; }

void forget_interrupt() {
  if (g_signal != SIGINT) return;
  g_signal = 0;
  g_interrupted = false;
}

}  // namespace qwill::cli
