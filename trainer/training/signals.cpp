#include "trainer/training/signals.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstddef>

namespace heddle {

namespace {

volatile sig_atomic_t exit_asked = 0;
volatile sig_atomic_t save_asked = 0;

void note(int signal) {
  if (signal == SIGUSR2) {
    save_asked = 1;
    return;
  }
  if (exit_asked && signal != SIGUSR1) _exit(128 + signal);
  exit_asked = 1;
}

constexpr std::array<int, 4> kSignals = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
std::array<struct sigaction, kSignals.size()> previous;

}  // namespace

SignalWatch::SignalWatch() {
  exit_asked = 0;
  save_asked = 0;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = note;
    // A write to a pipe that a dying mpirun no longer empties must not hold up the save: these two end it.
    action.sa_flags = kSignals[i] == SIGINT || kSignals[i] == SIGTERM ? 0 : SA_RESTART;
    sigaction(kSignals[i], &action, &previous[i]);
  }
}

SignalWatch::~SignalWatch() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous[i], nullptr);
}

StopRequest SignalWatch::take() {
  if (exit_asked) return StopRequest::save_and_exit;
  if (!save_asked) return StopRequest::none;
  save_asked = 0;
  return StopRequest::save;
}

}  // namespace heddle
