// Signals, taken in a thread of their own.
//
// oneDNN's generated code lets the stack pointer point into a heap buffer while it multiplies
// matrices; the frame of a signal handler would be written over that buffer's neighbours. So no
// thread that may run such code takes a signal that has a handler: take_signals() blocks them
// before any thread is made, and one thread waits for them.
#pragma once

#include <atomic>

namespace syncnorm {

/// What TERM, INT, HUP, USR2, XCPU, PWR and an ALRM from outside do.
enum class OnSignal {
  die,    // what the system does by default: the process ends, killed by the signal
  stop,   // stop_requested() becomes true
  leave,  // the process ends at once, with the code given to leave_on_signals()
};

/// Blocks the signals above in the calling thread, and so in all that it starts, and takes them in
/// a thread of its own; HUP and INT stay ignored where they were (nohup, a background job). PIPE
/// and XFSZ are ignored for good: what cannot be written is an error of the call that writes. To be
/// called once, before anything makes a thread. Throws InputError when no thread can be started.
void take_signals();

/// What signals do from now on; `die` at first.
void on_signals(OnSignal action);

/// Signals end the process with `code` from now on.
void leave_on_signals(int code);

/// Whether a signal asked for an end; stays true.
const std::atomic<bool>& stop_requested();

/// Ends the process with exit code 70 and `message` if it is still alive after so many seconds. One
/// at a time.
class ExitDeadline {
 public:
  /// `message`: a literal.
  ExitDeadline(unsigned seconds, const char* message);
  ~ExitDeadline();
  ExitDeadline(const ExitDeadline&) = delete;
  ExitDeadline& operator=(const ExitDeadline&) = delete;
};

/// Ends the process as SIGPIPE would have: somebody closed the pipe that the output goes to.
[[noreturn]] void die_of_closed_pipe();

}  // namespace syncnorm
