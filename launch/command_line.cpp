// Arguments with CLI11; each command's help lists what it takes, `train --help` all keys.
#include <iostream>
#include <sstream>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "engine/config/load.h"
#include "engine/config/paths.h"
#include "launch/build_info.h"
#include "launch/commands.h"

namespace syncnorm {

std::string version_text() {
  std::string text = fmt::format("syncnorm {} ({}, {})\nback ends: cpu (oneDNN), {}, {}", kVersion,
                                 kBuildType, kCompiler, kHasMpi ? "mpi" : "no mpi in this build",
                                 kHasCuda ? "cuda" : "no cuda in this build");
  if (*kMpi != 0) text += fmt::format("\nmpi: {}", kMpi);
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
                   "Break the run on purpose: kind@rank:step[:place]; can be repeated")
      ->allow_extra_args(false);
}

void add_rounds(CLI::App* command, CommandLine& line) {
  command->add_option("--rounds", line.bench.rounds, "Rounds whose median is quoted")
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
                   "How much faster a rank computes than this machine's core")
      ->check(CLI::Range(1e-3, 1e6))
      ->needs(ranks)
      ->capture_default_str();
  command->add_option("--steps", line.scale.steps, "That are measured")
      ->check(CLI::Range(3, 10000))
      ->needs(ranks)
      ->capture_default_str();
}

/// A variable of a script that is not set must not count as an option that is not given.
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

}  // namespace

CommandLine parse_command_line(int argc, char** argv) {
  CommandLine line;
  CLI::App app{"syncnorm: which normalization to use when each device only fits a tiny batch"};
  app.require_subcommand(1);
  app.set_version_flag("--version", version_text());

  CLI::App* train = app.add_subcommand("train", "Train one experiment");
  add_experiment(train, line, "EXPERIMENT.yaml");
  add_overrides(train, line);
  train->add_option("--resume", line.resume,
                    "auto (newest valid checkpoint of run_dir) or a checkpoint folder");
  train->add_option("--init-from", line.init_from,
                    "Begin with the weights of a .safetensors file or a checkpoint folder");
  add_faults(train, line);
  train->add_flag("--dry-run", line.dry_run, "Check everything, compile, train nothing");
  train->add_flag("--print-config", line.print_config,
                  "Print every value and where it came from, then stop");
  train->add_option("--print", line.print,
                    "Print the value of one key, such as run_dir, as it is, then stop");
  train->footer("Keys:\n" + schema_help());

  CLI::App* compare = app.add_subcommand("compare", "Train the runs of a study, print a table");
  add_experiment(compare, line, "STUDY.yaml");
  add_overrides(compare, line);
  compare->add_option("--only", line.only, "I/N: the I-th of N equal parts of the runs");
  compare->add_option("--init-from", line.init_from,
                      "Begin every run with the weights of a .safetensors file or a checkpoint "
                      "folder");
  compare->add_flag("--dry-run", line.dry_run, "Check everything and list the runs");
  compare->add_option("--print", line.print, "Print the study's run_dir or name, then stop");
  add_prediction(compare, line, "Add to the table what a step would take on so many ranks");

  CLI::App* plan =
      app.add_subcommand("plan", "Print the compiled step, or predict it on more ranks");
  add_experiment(plan, line, "EXPERIMENT.yaml");
  add_overrides(plan, line);
  add_prediction(plan, line, "Predict the step on 2, 4, ... up to so many ranks");
  plan->add_flag("--json", line.bench.json, "With --ranks: one JSON object, with the schedule")
      ->needs("--ranks");

  CLI::App* eval = app.add_subcommand("eval", "Evaluate weights on the test set");
  add_experiment(eval, line, "EXPERIMENT.yaml");
  add_overrides(eval, line);
  add_faults(eval, line);
  eval->add_option("--weights", line.weights, "checkpoint folder or .safetensors file")->required();

  CLI::App* bench = app.add_subcommand("bench", "Measure, without writing anything");
  bench->require_subcommand(1);
  CLI::App* bench_step = bench->add_subcommand("step", "Training steps and their reductions");
  add_experiment(bench_step, line, "EXPERIMENT.yaml");
  add_overrides(bench_step, line);
  add_bench_output(bench_step, line);
  bench_step->add_option("--steps", line.bench.steps_per_round, "Steps in a round")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  bench_step
      ->add_option("--delay", line.bench.delay_us,
                   "Microseconds that every message takes at least, as over a network")
      ->check(CLI::Range(0.0, 1e6));
  bench_step->add_flag("--force-reductions", line.bench.force_reductions,
                       "On one GPU: send every reduction to itself, to measure what that costs");
  bench_step->add_flag("--limit", line.bench.limit,
                       "Also run the convolutions and linear layers alone, back to back");
  bench_step->add_flag("--instructions", line.bench.instructions,
                       "Also measure every instruction: the budget of a step");

  CLI::App* bench_norm =
      bench->add_subcommand("norm", "Norm kernels against a copy and, on the CPU, oneDNN's");
  bench_norm->add_flag("--cuda", line.bench.cuda, "On the first GPU instead of the CPU");
  bench_norm->add_flag("--bf16", line.bench.bf16, "With activations stored in bf16");
  add_bench_output(bench_norm, line);
  const auto add_size = [&](const char* name, int& size) {
    bench_norm->add_option(name, size, "Of one tensor, instead of three from small to large")
        ->check(CLI::Range(1, 65536));
  };
  add_size("--samples", line.bench.samples);
  add_size("--height", line.bench.height);
  add_size("--width", line.bench.width);
  add_size("--channels", line.bench.channels);

  CLI::App* bench_reduce = bench->add_subcommand("reduce", "Reductions between ranks, by size");
  add_bench_output(bench_reduce, line);
  bench_reduce->add_option("--max-bytes", line.bench.max_bytes, "Of a message; begins at 64")
      ->check(CLI::Range(64, 1 << 28))
      ->capture_default_str();
  bench_reduce->add_option("--leaves", line.bench.leaves, "Replicas of a rank, one after another")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();

  CLI::App* bench_data =
      bench->add_subcommand("data", "Reading and decoding images, against libjpeg-turbo alone");
  add_experiment(bench_data, line, "EXPERIMENT.yaml");
  add_overrides(bench_data, line);
  add_rounds(bench_data, line);
  bench_data->add_option("--images", line.bench.images, "The first so many training images")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();

  CLI::App* pack = app.add_subcommand("pack", "Make tar shards with an index of an image folder");
  pack->add_option("from", line.file, "SRC_DIR, with train/CLASS/IMAGE and test/CLASS/IMAGE")
      ->required();
  pack->add_option("to", line.destination, "DEST_DIR, which is made")->required();
  pack->add_option("--shard-bytes", line.shard_bytes, "A shard has at most so many")
      ->check(CLI::Range(std::uint64_t{1} << 16, std::uint64_t{1} << 40))
      ->capture_default_str();

  CLI::App* report = app.add_subcommand("report", "Write report.html of a run or a study");
  add_experiment(report, line, "RUN_OR_STUDY_DIR");
  report->add_flag("--csv", line.csv,
                   "Print a run as comma-separated values instead, one line for each step and "
                   "evaluation");

  CLI::App* trace = app.add_subcommand("trace", "Print a worked example of batch normalization");
  trace->add_option("file", line.file, "TRACE.yaml, with other inputs, weights or norm");
  trace->add_option("--digits", line.digits, "Decimals")
      ->check(CLI::Range(4, 15))
      ->capture_default_str();

  CLI::App* inspect =
      app.add_subcommand("inspect", "Show and verify a checkpoint, or merge flight records");
  add_experiment(inspect, line, "CHECKPOINT_DIR, or a run's flight folder");
  inspect->add_flag("--flight", line.flight,
                    "Merge the flight records of all ranks, and name who held the others up");

  refuse_empty_values(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    line.finished = true;
    std::ostringstream out, err;
    // CLI11's own codes start at 100; every usage mistake is 2 here.
    line.exit_code = app.exit(error, out, err) == 0 ? 0 : static_cast<int>(ExitCode::bad_input);
    std::cout << printable(out.str());
    std::cerr << printable(err.str());
    return line;
  }
  const CLI::App* chosen = app.get_subcommands().front();
  line.command = chosen->get_name();
  for (const CLI::App* inner : chosen->get_subcommands()) line.command += " " + inner->get_name();
  line.uses_ranks = line.command == "train" || line.command == "compare" ||
                    line.command == "eval" || line.command == "bench step" ||
                    line.command == "bench reduce";
  for (std::string* path :
       {&line.file, &line.resume, &line.weights, &line.init_from, &line.destination})
    *path = config::expand_path(*path);
  return line;
}

int run_command(const CommandLine& line, Communicator& comm) {
  if (line.command == "train") return run_train(line, comm);
  if (line.command == "compare") return run_compare(line, comm);
  if (line.command == "plan") return run_plan(line, comm);
  if (line.command == "eval") return run_eval(line, comm);
  if (line.command == "bench step") return run_bench_step(line, comm);
  if (line.command == "bench norm") return run_bench_norm(line);
  if (line.command == "bench reduce") return run_bench_reduce(line, comm);
  if (line.command == "bench data") return run_bench_data(line, comm);
  if (line.command == "pack") return run_pack(line);
  if (line.command == "report") return run_report(line);
  if (line.command == "trace") return run_trace(line);
  return run_inspect(line, comm);
}

}  // namespace syncnorm
