// syncnorm bench reduce: measures reductions between ranks by message size, and checks that the
// size above which messages are sliced instead of gathered is right.
#include <algorithm>
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "comm/bench/reduction_bench.h"
#include "comm/reduction.h"
#include "engine/train/bench.h"
#include "launch/build_info.h"
#include "launch/commands.h"

namespace syncnorm {
namespace {

constexpr std::size_t kThreshold = ReductionPlan::kLargeBytes;

struct Row {
  DataType type;
  std::size_t bytes;
  int leaves, subtrees;
  double gathered, sliced, paired, engine;  // seconds

  /// Returns true when a training step slices this size.
  bool is_sliced() const { return bytes > kThreshold; }
  double chosen() const { return is_sliced() ? sliced : gathered; }
  /// Returns by how much the chosen way is slower than the faster of both, as a fraction.
  double regret() const { return chosen() / std::min(gathered, sliced) - 1.0; }
};

const char* name(DataType type) { return type == DataType::f32 ? "f32" : "f64"; }

std::string bytes_text(std::size_t bytes) {
  if (bytes >= (std::size_t{1} << 20)) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= (std::size_t{1} << 10)) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

std::vector<Row> measure(Communicator& comm, const BenchLine& line) {
  std::vector<Row> rows;
  for (const DataType type : {DataType::f64, DataType::f32})
    for (const int leaves : line.leaves)
      for (std::size_t bytes = 64; bytes <= line.max_bytes; bytes *= 4) {
        const ReductionWaysBench bench = bench_reduction(comm, {type, bytes, leaves, line.rounds});
        const auto seconds = [&](ReductionWay way) {
          return median(bench.seconds[static_cast<std::size_t>(way)]);
        };
        rows.push_back({type, bytes, leaves, bench.subtrees, seconds(ReductionWay::gathered),
                        seconds(ReductionWay::sliced), seconds(ReductionWay::paired),
                        seconds(ReductionWay::engine)});
      }
  return rows;
}

constexpr double kNoise = 1.1;  // times that differ by less count as equal

/// Returns the smallest size from which on slicing is never slower than gathering; 0 if there is
/// none.
std::size_t crossover(const std::vector<Row>& rows, DataType type, int leaves) {
  std::size_t from = 0;
  for (const Row& row : rows) {
    if (row.type != type || row.leaves != leaves) continue;
    if (row.sliced > kNoise * row.gathered)
      from = 0;
    else if (from == 0)
      from = row.bytes;
  }
  return from;
}

const Row& worst(const std::vector<Row>& rows) {
  return *std::max_element(rows.begin(), rows.end(),
                           [](const Row& a, const Row& b) { return a.regret() < b.regret(); });
}

std::string table(const std::vector<Row>& rows, const BenchLine& line) {
  std::string text =
      "| values | bytes a subtree | leaves a rank | subtrees a rank | gathered, us | sliced, us | "
      "in pairs, us | engine, us | chosen | slower than the other |\n"
      "|---|---:|---:|---:|---:|---:|---:|---:|---|---:|\n";
  for (const Row& row : rows)
    text += fmt::format("| {} | {} | {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {} | {} |\n",
                        name(row.type), bytes_text(row.bytes), row.leaves, row.subtrees,
                        1e6 * row.gathered, 1e6 * row.sliced, 1e6 * row.paired, 1e6 * row.engine,
                        row.is_sliced() ? "sliced" : "gathered",
                        row.regret() > 0.0 ? fmt::format("{:.0f}%", 100.0 * row.regret()) : "");
  text += "\n";
  for (const DataType type : {DataType::f64, DataType::f32})
    for (const int leaves : line.leaves) {
      const std::size_t from = crossover(rows, type, leaves);
      text += fmt::format("{}, leaves a rank {}: slicing is not slower {}\n", name(type), leaves,
                          from == 0 ? "at no size" : "from " + bytes_text(from) + " on");
    }
  const Row& most = worst(rows);
  text += fmt::format("messages of more than {} are sliced; ", bytes_text(kThreshold));
  return text + fmt::format(
                    "where that is worst the other way is {:.2f} times as fast: {} of {}, "
                    "leaves a rank {}\n",
                    1.0 + most.regret(), bytes_text(most.bytes), name(most.type), most.leaves);
}

nlohmann::json json(const std::vector<Row>& rows, const BenchLine& line, const Communicator& comm) {
  nlohmann::json out = {{"version", kVersion},
                        {"communicator", comm.description()},
                        {"ranks", comm.size()},
                        {"rounds", line.rounds},
                        {"sliced_above_bytes", kThreshold},
                        {"reductions", nlohmann::json::array()}};
  for (const Row& row : rows)
    out["reductions"].push_back({{"type", name(row.type)},
                                 {"bytes", row.bytes},
                                 {"leaves_per_rank", row.leaves},
                                 {"subtrees_of_rank_0", row.subtrees},
                                 {"gathered_seconds", row.gathered},
                                 {"sliced_seconds", row.sliced},
                                 {"paired_seconds", row.paired},
                                 {"engine_seconds", row.engine},
                                 {"chosen", row.is_sliced() ? "sliced" : "gathered"}});
  return out;
}

}  // namespace

int run_bench_reduce(const CommandLine& line, Communicator& comm) {
  // A single rank sends nothing.
  const std::vector<Row> rows = comm.size() > 1 ? measure(comm, line.bench) : std::vector<Row>();
  if (comm.rank() != 0) return 0;
  if (line.bench.json)
    std::cout << json(rows, line.bench, comm).dump(2) << "\n";
  else if (rows.empty())
    std::cout << "one rank: nothing is sent\n";
  else
    std::cout << fmt::format("{} ranks, {}, medians of {} rounds on the slowest rank\n\n",
                             comm.size(), comm.description(), line.bench.rounds)
              << table(rows, line.bench);
  return 0;
}

}  // namespace syncnorm
