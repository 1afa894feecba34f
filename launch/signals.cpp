// See signals.h.
#include "launch/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"

namespace syncnorm {
namespace {

std::atomic<OnSignal> action{OnSignal::die};
std::atomic<int> leaving_code{0};
std::atomic<bool> stopping{false};
std::atomic<const char*> deadline_message{""};
constexpr double kEarly = 0.1;      // seconds by which the two clocks may differ
std::atomic<double> deadline{0.0};  // in steady_seconds(); 0: none

double steady_seconds() {
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

[[noreturn]] void die_of(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  std::raise(signal);
  _exit(128 + signal);  // as pid 1 of a container, the process survives signals
}

/// Returns true when an ExitDeadline has passed; anyone may send ALRM.
bool deadline_is_over() {
  const double due = deadline.load();
  return due > 0.0 && steady_seconds() >= due;
}

[[noreturn]] void give_up() {
  const char* message = deadline_message.load();
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, message, std::strlen(message));
  _exit(static_cast<int>(ExitCode::peer_lost));
}

[[noreturn]] void wait_for_signals(sigset_t set) {
  for (;;) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    if (signal == SIGALRM && deadline_is_over()) give_up();
    switch (action.load()) {
      case OnSignal::die:
        die_of(signal);
      case OnSignal::leave:
        _exit(leaving_code.load());
      case OnSignal::stop:
        stopping.store(true);
    }
  }
}

bool ignored(int signal) {
  struct sigaction now = {};
  return sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

void take_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGUSR2, SIGALRM, SIGXCPU, SIGPWR}) sigaddset(&set, signal);
  for (const int signal : {SIGINT, SIGHUP})
    if (!ignored(signal)) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  try {
    std::thread(wait_for_signals, set).detach();
  } catch (const std::system_error& error) {
    throw InputError(
        fmt::format("cannot start a thread ({}); raise the limit of processes "
                    "(ulimit -u) or of memory (ulimit -v)",
                    error.code().message()));
  }
}

void on_signals(OnSignal next) { action.store(next); }

void leave_on_signals(int code) {
  leaving_code.store(code);
  action.store(OnSignal::leave);
}

const std::atomic<bool>& stop_requested() { return stopping; }

ExitDeadline::ExitDeadline(unsigned seconds, const char* message) {
  deadline_message.store(message);
  deadline.store(steady_seconds() + seconds - kEarly);
  alarm(seconds);
}

ExitDeadline::~ExitDeadline() {
  alarm(0);
  deadline.store(0.0);
}

void die_of_closed_pipe() { die_of(SIGPIPE); }

}  // namespace syncnorm
