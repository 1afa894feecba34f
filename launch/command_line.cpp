// Parses arguments with CLI11. A command's help lists its arguments; `train --help` lists all keys.
#include <iostream>
#include <map>
#include <sstream>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "comm/nccl/nccl.h"
#include "engine/config/load.h"
#include "engine/config/paths.h"
#include "kernels/device.h"
#include "launch/build_info.h"
#include "launch/commands.h"

namespace syncnorm {

std::string version_text() {
  std::string text = fmt::format("syncnorm {} ({}, {})\nback ends: cpu (oneDNN), {}, {}", kVersion,
                                 kBuildType, kCompiler, kHasMpi ? "mpi" : "no mpi in this build",
                                 kHasCuda ? "cuda" : "no cuda in this build");
  if (*kMpi != 0) text += fmt::format("\nmpi: {}", kMpi);
  if (kHasCuda)
    text += fmt::format("\ncuda: built with {}\ncuda: found {}; {}", kCudaLibraries, cuda_found(),
                        nccl_found());
  return text;
}

namespace {

void add_overrides(CLI::App* command, CommandLine& line) {
  command->add_option("overrides", line.overrides, "key.path=value, as in the YAML");
}

void add_experiment(CLI::App* command, CommandLine& line, const char* what) {
  command->add_option("file", line.file, what)->required();
}

void add_faults(CLI::App* command, CommandLine& line) {
  if (!kHasFaults) return;
  command
      ->add_option("--fault", line.faults,
                   "Inject a fault: kind@rank:step[:place]; can be repeated")
      ->allow_extra_args(false);
}

void add_rounds(CLI::App* command, CommandLine& line) {
  command->add_option("--rounds", line.bench.rounds, "Number of rounds; their median is printed")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
}

void add_bench_output(CLI::App* command, CommandLine& line) {
  add_rounds(command, line);
  command->add_flag("--json", line.bench.json, "Print one JSON object instead of the table");
}

void add_prediction(CLI::App* command, CommandLine& line, const char* ranks_help) {
  CLI::Option* ranks =
      command->add_option("--ranks", line.scale.ranks, ranks_help)->check(CLI::Range(2, 16384));
  command
      ->add_option(
          "--network", line.scale.network,
          "ethernet25, infiniband200 or nvlink_infiniband, with changes after commas: "
          "latency_us=, gbit=, overhead_us=, copy_gbit=, ranks_per_node=, inside_latency_us=, "
          "inside_gbit=")
      ->needs(ranks)
      ->capture_default_str();
  command->add_option("--replicas-per-rank", line.scale.replicas_per_rank, "That a rank hosts")
      ->check(CLI::Range(1, 1024))
      ->needs(ranks)
      ->capture_default_str();
  command
      ->add_option("--speed-up", line.scale.speed_up,
                   "Speed of a rank relative to one core of this machine")
      ->check(CLI::Range(1e-3, 1e6))
      ->needs(ranks)
      ->capture_default_str();
  command->add_option("--steps", line.scale.steps, "That are measured")
      ->check(CLI::Range(3, 10000))
      ->needs(ranks)
      ->capture_default_str();
}

/// Refuses empty values: an unset variable in a script must not count as an omitted option.
void refuse_empty_values(CLI::App& app) {
  const auto is_empty = [](const std::string& value) {
    return value.empty() ? std::string("the value is empty; give one, or leave the option out")
                         : std::string();
  };
  for (CLI::Option* option :
       app.get_options([](const CLI::Option* o) { return o->get_items_expected_max() > 0; }))
    option->check(is_empty);
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    refuse_empty_values(*command);
}

void add_train(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "EXPERIMENT.yaml");
  add_overrides(command, line);
  command->add_option("--resume", line.resume,
                      "auto (newest valid checkpoint of run_dir) or a checkpoint folder");
  command->add_option("--init-from", line.init_from,
                      "Start with the weights of a .safetensors file or a checkpoint folder");
  add_faults(command, line);
  command->add_flag("--dry-run", line.dry_run, "Check everything, compile, train nothing");
  command->add_flag("--print-config", line.print_config,
                    "Print every value and where it came from, then stop");
  command->add_option("--print", line.print,
                      "Print the value of one key, such as run_dir, as it is, then stop");
  command->footer("Keys:\n" + schema_help());
}

void add_compare(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "STUDY.yaml");
  add_overrides(command, line);
  command->add_option("--only", line.only, "I/N: the I-th of N equal parts of the runs");
  command->add_option("--init-from", line.init_from,
                      "Start every run with the weights of a .safetensors file or a checkpoint "
                      "folder");
  command->add_flag("--dry-run", line.dry_run, "Check everything and list the runs");
  command->add_option("--print", line.print, "Print the study's run_dir or name, then stop");
  add_prediction(command, line, "Add the predicted time of a step on this many ranks to the table");
}

void add_plan(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "EXPERIMENT.yaml");
  add_overrides(command, line);
  add_prediction(command, line, "Predict the step on 2, 4, ... up to this many ranks");
  command->add_flag("--json", line.bench.json, "With --ranks: one JSON object, with the schedule")
      ->needs("--ranks");
}

void add_eval(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "EXPERIMENT.yaml");
  add_overrides(command, line);
  add_faults(command, line);
  command->add_option("--weights", line.weights, "checkpoint folder or .safetensors file")
      ->required();
  command->add_option("--statistics", line.statistics,
                      "running, precise, batch, test_set and mixed, or some of them, separated by "
                      "commas: as evaluation.statistics");
}

void add_bench_step(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "EXPERIMENT.yaml");
  add_overrides(command, line);
  add_bench_output(command, line);
  command->add_option("--steps", line.bench.steps_per_round, "Steps in a round")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command
      ->add_option("--delay", line.bench.delay_us,
                   "Delay every message by at least this many microseconds, as over a network")
      ->check(CLI::Range(0.0, 1e6));
  command->add_flag("--force-reductions", line.bench.force_reductions,
                    "On one GPU: send every reduction through NCCL to itself, to measure its cost; "
                    "a single replica sends the statistics of batch norms as SyncBN does");
  command->add_flag("--limit", line.bench.limit,
                    "Also run the convolutions and linear layers alone, back to back");
  command->add_flag("--instructions", line.bench.instructions,
                    "Also measure every instruction; on a GPU, each is waited for");
}

void add_bench_norm(CLI::App* command, CommandLine& line) {
  command->add_flag("--cuda", line.bench.cuda, "Run on the first GPU instead of the CPU");
  command->add_flag("--bf16", line.bench.bf16, "Store activations in bf16");
  add_bench_output(command, line);
  const auto add_size = [&](const char* name, int& size) {
    command->add_option(name, size, "Size of the tensor; default: three sizes")
        ->check(CLI::Range(1, 65536));
  };
  add_size("--samples", line.bench.samples);
  add_size("--height", line.bench.height);
  add_size("--width", line.bench.width);
  add_size("--channels", line.bench.channels);
}

void add_bench_reduce(CLI::App* command, CommandLine& line) {
  add_bench_output(command, line);
  command
      ->add_option("--max-bytes", line.bench.max_bytes,
                   "Largest message, bytes; the smallest is 64")
      ->check(CLI::Range(64, 1 << 28))
      ->capture_default_str();
  command->add_option("--leaves", line.bench.leaves, "Replicas per rank")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
}

void add_bench_data(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "EXPERIMENT.yaml");
  add_overrides(command, line);
  add_rounds(command, line);
  command
      ->add_option("--images", line.bench.images, "Use this many training images, the first ones")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
}

void add_pack(CLI::App* command, CommandLine& line) {
  command
      ->add_option("from", line.file,
                   "SRC_DIR, with train/CLASS/IMAGE and test/CLASS/IMAGE, or with "
                   "train/images, train/masks and the same in test")
      ->required();
  command->add_option("to", line.destination, "DEST_DIR, which is made")->required();
  command->add_option("--shard-bytes", line.shard_bytes, "Largest size of a shard, bytes")
      ->check(CLI::Range(std::uint64_t{1} << 16, std::uint64_t{1} << 40))
      ->capture_default_str();
  command
      ->add_option("--ignore-label", line.ignore_label,
                   "With masks: label of the pixels that neither train nor count [255]")
      ->check(CLI::Range(0, 255));
}

void add_report(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "RUN_OR_STUDY_DIR");
  command->add_flag("--csv", line.csv,
                    "Print a run as comma-separated values instead, one line for each step and "
                    "evaluation");
}

void add_trace(CLI::App* command, CommandLine& line) {
  command->add_option("file", line.file, "TRACE.yaml with inputs, weights or norm");
  command->add_option("--digits", line.digits, "Decimals")
      ->check(CLI::Range(4, 15))
      ->capture_default_str();
}

void add_predict(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "CHECKPOINT_DIR, or a run's folder: its newest checkpoint");
  command->add_option("images", line.images, "JPEG or PNG files")->required();
  command
      ->add_option("--out", line.destination,
                   "Folder for the results: NAME.png, the class of every pixel of NAME.jpg; or "
                   "predictions.csv where a network tells one class per image")
      ->required();
  command->add_option("--device", line.device, "cpu or cuda, instead of the run's");
}

void add_inspect(CLI::App* command, CommandLine& line) {
  add_experiment(command, line, "CHECKPOINT_DIR, or a run's flight folder");
  command->add_flag(
      "--flight", line.flight,
      "Merge the flight records of all ranks and name the rank that held the others up");
}

/// All commands, in the order of --help.
const std::vector<Command>& commands() {
  static const std::vector<Command> list = {
      {"train", "Train one experiment", true, true, add_train, run_train},
      {"compare", "Train the runs of a study, print a table", true, true, add_compare, run_compare},
      {"plan", "Print the compiled step, or predict it on more ranks", false, false, add_plan,
       run_plan},
      {"eval", "Evaluate weights on the test set", true, false, add_eval, run_eval},
      {"bench step", "Training steps and their reductions", true, false, add_bench_step,
       run_bench_step},
      {"bench norm", "Norm kernels against a copy and, on the CPU, oneDNN's", false, false,
       add_bench_norm, run_bench_norm},
      {"bench reduce", "Reductions between ranks, by size", true, false, add_bench_reduce,
       run_bench_reduce},
      {"bench data", "Reading and decoding images, against libjpeg-turbo alone", false, false,
       add_bench_data, run_bench_data},
      {"pack", "Make tar shards with an index of a folder of images", false, false, add_pack,
       run_pack},
      {"predict", "Predict the classes of images, or of their pixels", false, false, add_predict,
       run_predict},
      {"report", "Write report.html of a run or a study", false, false, add_report, run_report},
      {"trace", "Print a worked example of batch normalization", false, false, add_trace,
       run_trace},
      {"inspect", "Show and verify a checkpoint, or merge flight records", false, false,
       add_inspect, run_inspect}};
  return list;
}

/// Adds the parser of a command; `bench step` belongs to the group `bench`.
CLI::App* add_command(CLI::App& app, std::map<std::string, CLI::App*>& groups,
                      const Command& command) {
  const std::string name = command.name;
  const std::size_t space = name.find(' ');
  if (space == std::string::npos) return app.add_subcommand(name, command.summary);
  const std::string group = name.substr(0, space);
  CLI::App*& parent = groups[group];
  if (parent == nullptr) {
    parent = app.add_subcommand(group, "Measure, without writing anything");
    parent->require_subcommand(1);
  }
  return parent->add_subcommand(name.substr(space + 1), command.summary);
}

}  // namespace

CommandLine parse_command_line(int argc, char** argv) {
  CommandLine line;
  CLI::App app{"syncnorm: which normalization to use when each device only fits a tiny batch"};
  app.require_subcommand(1);
  app.set_version_flag("--version", version_text);  // called only there: it loads modules
  std::map<std::string, CLI::App*> groups;
  std::vector<const CLI::App*> parsers;
  for (const Command& command : commands()) {
    CLI::App* parser = add_command(app, groups, command);
    command.add_options(parser, line);
    parsers.push_back(parser);
  }
  refuse_empty_values(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    line.finished = true;
    std::ostringstream out, err;
    // CLI11's own codes start at 100; here, every usage error has exit code 2.
    line.exit_code = app.exit(error, out, err) == 0 ? 0 : static_cast<int>(ExitCode::bad_input);
    std::cout << printable(out.str());
    std::cerr << printable(err.str());
    return line;
  }
  for (std::size_t i = 0; i < parsers.size(); ++i)
    if (parsers[i]->parsed()) line.command = &commands()[i];
  for (std::string* path :
       {&line.file, &line.resume, &line.weights, &line.init_from, &line.destination})
    *path = config::expand_path(*path);
  return line;
}

}  // namespace syncnorm
