// Signals are handled in a dedicated thread.
//
// oneDNN's generated code lets the stack pointer point into a heap buffer while it multiplies
// matrices; the frame of a signal handler would overwrite memory next to that buffer. So no thread
// that may run such code may execute a signal handler: take_signals() blocks signals before any
// other thread starts, and one thread waits for them.
#pragma once

#include <atomic>

namespace syncnorm {

/// The effect of TERM, INT, HUP, USR2, XCPU, PWR and an ALRM from outside.
enum class OnSignal {
  die,    // the system's default: the signal kills the process
  stop,   // stop_requested() becomes true
  leave,  // the process ends at once with the code given to leave_on_signals()
};

/// Blocks the signals above in the calling thread, and so in all threads that it starts, and waits
/// for them in a dedicated thread. HUP and INT stay ignored where they were (nohup, a background
/// job). PIPE and XFSZ are ignored, so a write that fails returns an error instead. Call it once,
/// before any thread starts. Throws InputError when no thread can be started.
void take_signals();

/// Sets the effect of signals from now on; `die` at first.
void on_signals(OnSignal action);

/// Makes signals end the process with `code` from now on.
void leave_on_signals(int code);

/// Becomes and stays true when a signal requests a stop.
const std::atomic<bool>& stop_requested();

/// Ends the process with exit code 70 and `message` if it is still alive after `seconds`. Only one
/// may exist at a time.
class ExitDeadline {
 public:
  /// `message` must be a literal.
  ExitDeadline(unsigned seconds, const char* message);
  ~ExitDeadline();
  ExitDeadline(const ExitDeadline&) = delete;
  ExitDeadline& operator=(const ExitDeadline&) = delete;
};

/// Ends the process as SIGPIPE would: the reader of the output has closed the pipe.
[[noreturn]] void die_of_closed_pipe();

}  // namespace syncnorm
