#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <string>
#include <utility>

namespace qwill::cli {
namespace {

std::atomic<bool> g_catching{false}, g_interrupted{false};
std::atomic<int> g_signal{0};
std::string& g_last_words = *new std::string;  // outlives everything: a handler reads it
std::atomic<size_t> g_last_words_size{0};      // how much of them the handler may look at

extern "C" void on_interrupt(int signal) {
  if (g_catching && !g_interrupted.exchange(true)) {
    g_signal = signal;
    return;
  }
  if (!g_interrupted) {
    [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, g_last_words.data(), g_last_words_size);
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

void set_last_words(std::string text) {
  g_last_words_size = 0;
  if (text.empty()) return;
  g_last_words = std::move(text);
  g_last_words_size = g_last_words.size();
}

CatchInterrupt::CatchInterrupt() { g_catching = true; }
CatchInterrupt::~CatchInterrupt() { g_catching = false; }

const std::atomic<bool>& interrupted() { return g_interrupted; }

int interrupt_status() { return g_signal ? 128 + g_signal : 0; }

void obeyed_interrupt() { g_signal = 0; }

void forget_interrupt() {
  if (g_signal != SIGINT) return;
  g_signal = 0;
  g_interrupted = false;
}

}  // namespace qwill::cli
