// The parsed command line, and the commands that it selects.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace CLI {
class App;
}

namespace syncnorm {

struct BenchLine {
  int rounds = 20;
  int steps_per_round = 5;
  double delay_us = 0.0;  // injected into every collective, microseconds
  bool limit = false;
  bool force_reductions = false;
  bool cuda = false, bf16 = false;  // for bench norm
  bool instructions = false;
  bool json = false;
  int samples = 0, height = 0, width = 0, channels = 0;  // bench norm's own tensor; 0: not given
  std::size_t max_bytes = std::size_t{64} << 20;         // bench reduce
  std::vector<int> leaves = {1, 3};                      // bench reduce: per rank
  int images = 1000;                                     // bench data
};

/// The step that `plan` and `compare` predict.
struct ScaleLine {
  int ranks = 0;  // 0: no prediction
  std::string network = "infiniband200";
  int replicas_per_rank = 1;
  double speed_up = 1.0;  // of computing, relative to this machine
  int steps = 20;         // steps to measure
};

struct Command;

struct CommandLine {
  const Command* command = nullptr;
  std::string file;  // experiment, study or checkpoint folder
  std::vector<std::string> overrides;
  std::string resume;
  std::string weights;
  std::string statistics;  // eval: evaluation.statistics, separated by commas
  std::string init_from;
  std::vector<std::string> faults;                     // train and eval, in builds with faults
  std::string only;                                    // I/N
  std::string destination;                             // pack and predict
  std::vector<std::string> images;                     // predict
  std::string device;                                  // predict: instead of the run's
  std::uint64_t shard_bytes = std::uint64_t{1} << 30;  // pack
  std::optional<int> ignore_label;                     // pack
  BenchLine bench;
  ScaleLine scale;
  bool csv = false;     // report: values instead of a page
  bool flight = false;  // inspect
  int digits = 4;       // trace
  bool dry_run = false;
  bool print_config = false;
  std::string print;  // train and compare: the key to print

  bool finished = false;  // --help, --version or a usage error has been handled
  int exit_code = 0;
};

/// A row of the command table in command_line.cpp.
struct Command {
  const char* name;  // "train"; "bench step" is a command of the group bench
  const char* summary;
  bool uses_ranks;             // runs on several ranks together
  bool stops_with_checkpoint;  // a signal makes its training stop with a checkpoint
  void (*add_options)(CLI::App*, CommandLine&);
  /// Returns the exit code or throws Error, on every rank alike.
  int (*run)(const CommandLine& line, Communicator& comm);
};

/// Parses the arguments. Prints help, the version and usage errors itself.
CommandLine parse_command_line(int argc, char** argv);

/// Returns the name, version, build type and back ends.
std::string version_text();

/// One file per command defines each of these.
int run_train(const CommandLine& line, Communicator& comm);
int run_compare(const CommandLine& line, Communicator& comm);
int run_plan(const CommandLine& line, Communicator& comm);
int run_plan_scale(const CommandLine& line, Communicator& comm);
int run_eval(const CommandLine& line, Communicator& comm);
int run_predict(const CommandLine& line, Communicator& comm);
int run_report(const CommandLine& line, Communicator& comm);
int run_pack(const CommandLine& line, Communicator& comm);
int run_trace(const CommandLine& line, Communicator& comm);
int run_inspect(const CommandLine& line, Communicator& comm);
int run_bench_step(const CommandLine& line, Communicator& comm);
int run_bench_norm(const CommandLine& line, Communicator& comm);
int run_bench_reduce(const CommandLine& line, Communicator& comm);
int run_bench_data(const CommandLine& line, Communicator& comm);

}  // namespace syncnorm
