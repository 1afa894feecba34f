// Errors that end a job, each with the exit code that the shell, Slurm and launch/run see.
//
// Every failure that a user, a file or a peer can cause is thrown as one of these; main() prints
// what() and returns exit_code(). Programming errors are assertions, never exceptions. Messages
// quote names from outside, so what() is made printable.
#pragma once

#include <stdexcept>
#include <string>

#include "base/printable.h"

namespace syncnorm {

enum class ExitCode : int {
  done = 0,
  bad_input = 2,       // usage, config or data
  bad_checkpoint = 3,  // a checkpoint that cannot be used, or a result that cannot be written
  diverged = 4,        // the loss became nan or infinite
  peer_lost = 70,      // a peer is gone, or a deadline passed
  stopped = 75,        // stopped on a signal with a checkpoint written
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message)
      : std::runtime_error(printable(message)), code_(code) {}
  ExitCode exit_code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// The path of a configuration key or section: "norm.groups", "model".
struct ConfigKey {
  std::string path;
};

/// Bad usage, config or data: exit 2. The message says what is wrong and how to fix it. An error
/// about a configuration key names that key; engine/config knows its location in the user's file.
class InputError : public Error {
 public:
  explicit InputError(const std::string& message)
      : Error(ExitCode::bad_input, message), message_(message) {}
  /// what(): "KEY: MESSAGE".
  InputError(const ConfigKey& key, const std::string& message)
      : Error(ExitCode::bad_input, key.path + ": " + message), key_(key.path), message_(message) {}

  const std::string& key() const noexcept { return key_; }  // "" for an error about no key
  const std::string& message() const noexcept { return message_; }

 private:
  std::string key_, message_;
};

/// The system refused to allocate `what` ("512 MiB of memory"): exit 2, since a retry would fail
/// too.
struct OutOfMemoryError : InputError {
  explicit OutOfMemoryError(const std::string& what)
      : InputError("cannot allocate " + what +
                   "; raise the limit (ulimit -v), start more ranks, or use a smaller "
                   "batch_per_replica, model or data set") {}
};

/// A checkpoint that is missing, damaged or of another model: exit 3.
struct CheckpointError : Error {
  explicit CheckpointError(const std::string& message) : Error(ExitCode::bad_checkpoint, message) {}
};

/// Training diverged: exit 4.
struct DivergedError : Error {
  explicit DivergedError(const std::string& message) : Error(ExitCode::diverged, message) {}
};

/// A peer is gone or a deadline passed: exit 70.
struct PeerLostError : Error {
  explicit PeerLostError(const std::string& message) : Error(ExitCode::peer_lost, message) {}
};

}  // namespace syncnorm
