// syncnorm bench step: measures a training step and the cost of its reductions.
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/observed.h"
#include "engine/train/bench.h"
#include "launch/build_info.h"
#include "launch/commands.h"
#include "launch/session.h"

namespace syncnorm {
namespace {

constexpr ReductionKind kKinds[] = {ReductionKind::forward_statistics,
                                    ReductionKind::backward_statistics, ReductionKind::gradient,
                                    ReductionKind::loss};

const char* kind_name(ReductionKind kind) {
  switch (kind) {
    case ReductionKind::forward_statistics:
      return "forward statistics";
    case ReductionKind::backward_statistics:
      return "backward statistics";
    case ReductionKind::gradient:
      return "gradient";
    case ReductionKind::loss:
      break;
  }
  return "loss";
}

std::string row(const std::string& name, const ReductionBench& r, bool queued) {
  if (queued) return fmt::format("| {} | {} |\n", name, r.bytes);
  return fmt::format("| {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.0f}% |\n", name, r.bytes,
                     1e6 * r.in_flight, 1e6 * r.exposed, 1e6 * r.unoverlapped, 100.0 * r.hidden());
}

std::string budget(const StepBench& bench) {
  double total = 0.0;
  for (const OperationBench& o : bench.operations) total += o.seconds;
  std::string text =
      "\n| pass | operation | instructions | us a step | share |\n|---|---|---:|---:|---:|\n";
  for (const OperationBench& o : bench.operations)
    text += fmt::format("| {} | {} | {} | {:.1f} | {:.1f}% |\n", o.pass, o.operation,
                        o.instructions, 1e6 * o.seconds, 100.0 * o.seconds / total);
  if (bench.queued)
    text +=
        "\nEach instruction was waited for on the device: nothing overlaps, and reductions take "
        "their "
        "time where they start.\n";
  return text + "\n";
}

std::string table(const StepBench& bench, const BenchLine& line, Setup& setup) {
  const double rate = bench.samples / bench.step;
  std::string text =
      fmt::format("{:.3f} ms a step of {} samples on {} rank{}, {:.1f} images/s\n",
                  1e3 * bench.step, bench.samples, bench.ranks, bench.ranks == 1 ? "" : "s", rate);
  if (bench.limit > 0.0)
    text += fmt::format(
        "{:.3f} ms its convolutions and linear layers alone: the step runs at {:.1f}% of that "
        "limit\n",
        1e3 * bench.limit, 100.0 * bench.limit / bench.step);
  if (!bench.operations.empty()) text += budget(bench);
  if (bench.reductions.empty()) return text + "nothing is reduced between ranks\n";
  text += fmt::format("{:.3f} ms when every reduction is waited for where it starts\n",
                      1e3 * bench.unoverlapped);
  if (line.delay_us > 0.0)
    text += fmt::format("every message takes {} us at least\n", line.delay_us);
  if (line.force_reductions)
    text += fmt::format("every reduction is forced through the communicator {}\n",
                        setup.device_comm().description());
  text += bench.queued
              ? "the device's times of single reductions are not measured; --instructions does\n\n"
                "| reduction | bytes sent |\n|---|---:|\n"
              : "\n| reduction | bytes sent | in flight, us | exposed, us | without overlap, us | "
                "hidden |\n|---|---:|---:|---:|---:|---:|\n";
  for (const ReductionBench& r : bench.reductions) text += row(r.name, r, bench.queued);
  for (const ReductionKind kind : kKinds)
    if (const ReductionBench total = total_of(bench, kind); total.bytes > 0)
      text += row(fmt::format("**all {}**", kind_name(kind)), total, bench.queued);
  return text;
}

nlohmann::json object(const ReductionBench& r, bool queued) {
  if (queued) return {{"kind", kind_name(r.kind)}, {"bytes", r.bytes}};
  return {{"kind", kind_name(r.kind)},
          {"bytes", r.bytes},
          {"in_flight_seconds", r.in_flight},
          {"exposed_seconds", r.exposed},
          {"unoverlapped_seconds", r.unoverlapped},
          {"hidden_share", r.hidden()}};
}

nlohmann::json json(const StepBench& bench, double delay_us, Setup& setup) {
  nlohmann::json out = {{"version", kVersion},
                        {"device", setup.device.description()},
                        {"communicator", setup.device_comm().description()},
                        {"ranks", bench.ranks},
                        {"samples", bench.samples},
                        {"step_seconds", bench.step},
                        {"unoverlapped_step_seconds", bench.unoverlapped},
                        {"images_per_second", bench.samples / bench.step},
                        {"delay_seconds", 1e-6 * delay_us},
                        {"queued_on_device", bench.queued}};
  if (bench.limit > 0.0) out["limit_seconds"] = bench.limit;
  if (!bench.operations.empty()) out["operations_waited_for"] = bench.queued;
  for (const OperationBench& o : bench.operations)
    out["operations"].push_back({{"pass", o.pass},
                                 {"operation", o.operation},
                                 {"instructions", o.instructions},
                                 {"seconds", o.seconds}});
  out["reductions"] = nlohmann::json::array();
  for (const ReductionBench& r : bench.reductions) {
    out["reductions"].push_back(object(r, bench.queued));
    out["reductions"].back()["name"] = r.name;
  }
  for (const ReductionKind kind : kKinds)
    if (const ReductionBench total = total_of(bench, kind); total.bytes > 0)
      out["totals"].push_back(object(total, bench.queued));
  return out;
}

}  // namespace

int run_bench_step(const CommandLine& line, Communicator& comm) {
  const LoadedExperiment loaded = load_on_all_ranks(line, comm);
  const std::unique_ptr<Device> device = make_device(loaded.experiment, comm);
  const Dataset dataset = load_data_on_all_ranks(loaded, comm);
  const std::unique_ptr<Communicator> delayed =
      make_observed_communicator(comm, {{}, 1e-6 * line.bench.delay_us});
  if (line.bench.delay_us > 0.0 && !device->host_memory())
    throw InputError("bench step: --delay is for device: cpu");
  if (line.bench.force_reductions && device->host_memory())
    throw InputError("bench step: --force-reductions is for device: cuda; on CPUs start 2 ranks");
  const std::unique_ptr<Communicator> device_comm =
      make_device_communicator(*device, comm, line.bench.force_reductions);
  TrainerOptions options;
  options.version = kVersion;
  options.device_communicator = device_comm.get();
  options.force_reductions = line.bench.force_reductions;
  Setup setup(loaded, dataset, *device, line.bench.delay_us > 0.0 ? *delayed : comm, options);
  const StepBench bench =
      bench_steps(setup, {line.bench.rounds, line.bench.steps_per_round, BenchOptions{}.warmup,
                          line.bench.instructions, line.bench.limit});
  if (comm.rank() != 0) return 0;
  if (line.bench.json)
    std::cout << json(bench, line.bench.delay_us, setup).dump(2) << "\n";
  else
    std::cout << table(bench, line.bench, setup);
  return 0;
}

}  // namespace syncnorm
