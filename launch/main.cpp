// The program: reads the command line, picks the device and the communicator, runs one command.
//
// This is the only place that knows which back ends were chosen. Exit codes are in kernels/error.h.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "comm/communicator.h"
#include "kernels/error.h"
#include "launch/commands.h"
#include "launch/started_by.h"

namespace syncnorm {
namespace {

int exit_code(ExitCode code) { return static_cast<int>(code); }

constexpr unsigned kLeavingSeconds = 60;

void left_behind(int) {
  constexpr char kText[] = "syncnorm: the other ranks do not leave\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText, sizeof kText - 1);
  _exit(exit_code(ExitCode::peer_lost));
}

volatile std::sig_atomic_t leaving_code = 0;

void leave_at_once(int) { _exit(static_cast<int>(leaving_code)); }

/// Leaves the job with `code`, which waits for all ranks: one that was stopped must not hold up the
/// others. What there was to save is saved, so another signal only makes it quicker.
void leave(std::unique_ptr<Communicator>& comm, int code) {
  if (comm->size() == 1) return;
  std::cout.flush();
  leaving_code = code;
  std::signal(SIGTERM, leave_at_once);
  std::signal(SIGALRM, left_behind);
  alarm(kLeavingSeconds);
  comm.reset();
  alarm(0);
}

/// Runs the command on all ranks. A rank that fails alone takes the others down.
int run_on_all_ranks(const CommandLine& line, Communicator& comm) {
  try {
    return run_command(line, comm);
  } catch (const PeerLostError& error) {
    std::cerr << "syncnorm: " << error.what() << std::endl;
    if (comm.size() > 1) comm.abort(exit_code(error.exit_code()));
    return exit_code(error.exit_code());
  } catch (const Error& error) {
    // Thrown on every rank alike (engine/train/agreement.h), so everyone leaves in order.
    if (comm.rank() == 0) std::cerr << "syncnorm: " << error.what() << std::endl;
    return exit_code(error.exit_code());
  } catch (const std::exception& error) {
    std::cerr << "syncnorm: rank " << comm.rank() << ": " << error.what() << std::endl;
    if (comm.size() > 1) comm.abort(1);
    return 1;
  }
}

int run(const CommandLine& line) {
  std::unique_ptr<Communicator> comm = make_world(line.uses_ranks);
  const int code = run_on_all_ranks(line, *comm);
  leave(comm, code);
  return code;
}

}  // namespace
}  // namespace syncnorm

int main(int argc, char** argv) {
  try {
    const syncnorm::CommandLine line = syncnorm::parse_command_line(argc, argv);
    return line.finished ? line.exit_code : syncnorm::run(line);
  } catch (const syncnorm::Error& error) {
    std::cerr << "syncnorm: " << error.what() << std::endl;
    return syncnorm::exit_code(error.exit_code());
  }
}
