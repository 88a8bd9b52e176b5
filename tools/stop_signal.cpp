#include "stop_signal.h"

#include <csignal>
#include <cstdlib>
#include <initializer_list>

namespace tome::cli {
namespace {

volatile std::sig_atomic_t noted = 0;

void note(int signal);

/// Signals that are not this file's stay as they are. For signal handlers, too.
void give_back_signals() {
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    if (now.sa_handler == note) std::signal(signal, SIG_DFL);
  }
}

void note(int signal) {
  noted = signal;
  give_back_signals();  // whichever comes next is the second
}

}  // namespace

StopSignal::StopSignal() {
  noted = 0;
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    // A shell's background jobs ignore SIGINT, and so they shall.
    if (before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
}

StopSignal::~StopSignal() { give_back_signals(); }

bool StopSignal::received() const { return noted != 0; }

void StopSignal::end_process() const {
  std::signal(noted, SIG_DFL);
  std::raise(noted);
  std::_Exit(EXIT_FAILURE);
}

}  // namespace tome::cli
