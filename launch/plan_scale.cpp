// syncnorm plan --ranks: predicts a step on a cluster, and how many replicas should share
// statistics there.
#include <bit>
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "launch/build_info.h"
#include "launch/commands.h"
#include "launch/measure.h"
#include "launch/session.h"

namespace syncnorm {
namespace {

/// The largest share of a step that SyncBN may cost; beyond it, a smaller group is advised.
constexpr double kAccepted = 0.05;

struct Row {
  int ranks = 1;
  StepPrediction alone, together;  // per-device, and shared over all ranks
  int best = 1;                    // ranks that can share statistics within kAccepted

  double cost() const { return together.step / alone.step - 1.0; }
};

Row row(const StepSchedule& schedule, const Network& network, int ranks, bool shares,
        ReductionAlgorithm algorithm) {
  Row r;
  r.ranks = ranks;
  r.alone = predict(schedule, network, ranks, 1, algorithm);
  r.together = predict(schedule, network, ranks, shares ? ranks : 1, algorithm);
  for (int group = 2; shares && group <= ranks; ++group)
    if (ranks % group == 0 && predict(schedule, network, ranks, group, algorithm).step <=
                                  (1.0 + kAccepted) * r.alone.step)
      r.best = group;
  return r;
}

/// Returns 2, 4, 8, ... below `most`, then `most`.
std::vector<int> counts(int most) {
  std::vector<int> all;
  for (int ranks = 2; ranks < most; ranks *= 2) all.push_back(ranks);
  all.push_back(most);
  return all;
}

std::string table(const std::vector<Row>& rows, bool shares, int replicas) {
  std::string text =
      shares ? "| ranks | per-device BN, ms | exposed gradients, ms | SyncBN over all, ms | "
               "exposed statistics, ms | SyncBN costs | share within 5% |\n"
               "|---:|---:|---:|---:|---:|---:|---:|\n"
             : "| ranks | step, ms | exposed gradients, ms |\n|---:|---:|---:|\n";
  for (const Row& r : rows) {
    text += fmt::format("| {} | {:.3f} | {:.3f} |", r.ranks, 1e3 * r.alone.step,
                        1e3 * r.alone.gradients);
    if (shares)
      text += fmt::format(" {:.3f} | {:.3f} | {:+.1f}% | {} |", 1e3 * r.together.step,
                          1e3 * r.together.statistics, 100.0 * r.cost(), r.best * replicas);
    text += "\n";
  }
  if (!shares) return text;
  return text +
         "\nThe last column is the largest norm.synced_replicas whose step is within 5% of "
         "per-device BatchNorm's.\n";
}

nlohmann::json json(const StepSchedule& schedule) {
  static const char* const kKinds[] = {"compute", "start", "wait"};
  static const char* const kSums[] = {"forward_statistics", "backward_statistics", "gradient",
                                      "loss"};
  nlohmann::json out = {{"update_seconds", schedule.update}};
  for (const StepSchedule::Item& item : schedule.items)
    out["items"].push_back({{"kind", kKinds[static_cast<int>(item.kind)]},
                            {"seconds", item.seconds},
                            {"reduction", item.reduction}});
  for (const StepSchedule::Sum& sum : schedule.sums)
    out["reductions"].push_back({{"kind", kSums[static_cast<int>(sum.kind)]},
                                 {"values", sum.count},
                                 {"bytes_per_value", sum.bytes_per_value}});
  return out;
}

nlohmann::json json(const StepPrediction& p) {
  return {{"step_seconds", p.step},
          {"statistics_seconds", p.statistics},
          {"gradient_seconds", p.gradients}};
}

nlohmann::json json(const Network& n) {
  return {{"name", n.name},
          {"latency_seconds", n.between.latency},
          {"bytes_per_second", n.between.bandwidth},
          {"inside_latency_seconds", n.inside.latency},
          {"inside_bytes_per_second", n.inside.bandwidth},
          {"ranks_per_node", n.ranks_per_node},
          {"overhead_seconds", n.overhead},
          {"copying_bytes_per_second", n.copying}};
}

}  // namespace

int run_plan_scale(const CommandLine& line, Communicator& comm) {
  const Network network = parse_network(line.scale.network);
  const LoadedExperiment loaded = load_on_all_ranks(line, comm);
  const Experiment& experiment = loaded.experiment;
  const bool shares = experiment.norms_over_batch();
  const StepSchedule schedule = measure_schedule(loaded, line.scale, comm);
  std::vector<Row> rows;
  for (const int ranks : counts(line.scale.ranks))
    rows.push_back(row(schedule, network, ranks, shares, reduction_algorithm(experiment)));
  if (!line.bench.json) {
    std::cout << fmt::format(
        "Predicted from kernels measured here ({:.3f} ms of computing a step, {} replica{} of {} "
        "a rank{}) on {}\n\n",
        1e3 * schedule.computing(), line.scale.replicas_per_rank,
        line.scale.replicas_per_rank == 1 ? "" : "s", experiment.batch_per_replica,
        line.scale.speed_up == 1.0 ? "" : fmt::format(", {:g} times as fast", line.scale.speed_up),
        network.description());
    std::cout << table(rows, shares, line.scale.replicas_per_rank);
    return 0;
  }
  nlohmann::json out = {
      {"version", kVersion},
      {"network", json(network)},
      {"reproducible", reduction_algorithm(experiment) == ReductionAlgorithm::tree},
      {"replicas_per_rank", line.scale.replicas_per_rank},
      {"computing_seconds", schedule.computing()},
      {"schedule", json(schedule)}};
  for (const Row& r : rows)
    out["predictions"].push_back(
        {{"ranks", r.ranks},
         {"alone", json(r.alone)},
         {"together", json(r.together)},
         {"share_within_5_percent", r.best * line.scale.replicas_per_rank}});
  std::cout << out.dump(2) << "\n";
  return 0;
}

}  // namespace syncnorm
