// The program: reads the command line, makes the communicator, runs one command.
//
// Exit codes are in base/error.h.
#include <cerrno>
#include <cstring>
#include <iostream>

#include <fmt/format.h>

#include "base/failure.h"
#include "comm/communicator.h"
#include "launch/commands.h"
#include "launch/signals.h"
#include "launch/standard_streams.h"
#include "launch/started_by.h"

namespace syncnorm {
namespace {

int exit_code(ExitCode code) { return static_cast<int>(code); }

constexpr unsigned kLeavingSeconds = 60;

/// Leaves the job with `code`, which waits for all ranks. Results are saved by now, so a signal
/// ends the process at once, and a deadline keeps a stopped rank from holding up the others.
void leave(std::unique_ptr<Communicator>& comm, int code) {
  if (comm->size() == 1) return;
  std::cout.flush();
  leave_on_signals(code);
  const ExitDeadline deadline(kLeavingSeconds, "syncnorm: the other ranks do not leave\n");
  comm.reset();
}

/// Runs the command on all ranks. A rank that fails alone takes the others down.
int run_on_all_ranks(const CommandLine& line, Communicator& comm) {
  try {
    return line.command->run(line, comm);
  } catch (const PeerLostError& error) {
    std::cerr << "syncnorm: " << error.what() << std::endl;
    if (comm.size() > 1) comm.abort(exit_code(error.exit_code()));
    return exit_code(error.exit_code());
  } catch (const Error& error) {
    // Thrown on every rank alike (comm/agreement.h), so every rank leaves in order.
    if (comm.rank() == 0) std::cerr << "syncnorm: " << error.what() << std::endl;
    return exit_code(error.exit_code());
  } catch (...) {
    const Error error = as_error(std::current_exception());
    std::cerr << fmt::format("syncnorm: {}{}\n",
                             comm.size() > 1 ? fmt::format("rank {}: ", comm.rank()) : "",
                             error.what());
    if (comm.size() > 1) comm.abort(exit_code(error.exit_code()));
    return exit_code(error.exit_code());
  }
}

/// Returns true when a signal makes the command stop with a checkpoint.
bool stops_with_checkpoint(const CommandLine& line) {
  return line.command != nullptr && line.command->stops_with_checkpoint && !line.dry_run &&
         !line.print_config && line.print.empty();
}

int run(const CommandLine& line) {
  if (stops_with_checkpoint(line)) on_signals(OnSignal::stop);
  std::unique_ptr<Communicator> comm = make_world(line.command->uses_ranks);
  const int code = run_on_all_ranks(line, *comm);
  leave(comm, code);
  return code;
}

/// Flushes the output and returns the exit code. A command whose result is its output fails without
/// it; a training does not.
int finish_output(StandardStreams& streams, const CommandLine& line, int code) {
  const int error = streams.finish_output();
  const bool training = stops_with_checkpoint(line);
  if (error == 0 || (training && (error == EPIPE || error == EBADF))) return code;
  if (error == EPIPE) die_of_closed_pipe();
  std::cerr << fmt::format("syncnorm: standard output: {}; {}\n", std::strerror(error),
                           training ? "the run went on, and its folder has everything"
                                    : "give it a place with room")
            << std::flush;
  return code == 0 && !training ? exit_code(ExitCode::bad_input) : code;
}

}  // namespace
}  // namespace syncnorm

int main(int argc, char** argv) {
  using namespace syncnorm;
  open_standard_streams();
  StandardStreams streams;
  try {
    take_signals();
    const CommandLine line = parse_command_line(argc, argv);
    const int code = line.finished ? line.exit_code : run(line);
    return finish_output(streams, line, code);
  } catch (...) {
    const Error error = as_error(std::current_exception());
    std::cerr << "syncnorm: " << error.what() << std::endl;
    return exit_code(error.exit_code());
  }
}
