// syncnorm inspect: shows the contents of a checkpoint, verified against its checksums, or the
// flight records of a job that hung.
#include <algorithm>
#include <cmath>
#include <iostream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/printable.h"
#include "comm/flight_report.h"
#include "engine/state/checkpoint.h"
#include "engine/state/safetensors.h"
#include "launch/commands.h"

namespace syncnorm {
namespace {

std::string value_summary(const TensorView& tensor) {
  if (tensor.dtype == "I64") {
    const std::vector<std::int64_t> values = tensor.values<std::int64_t>();
    return values.empty() ? "" : fmt::format("{}", values[0]);
  }
  if (tensor.dtype != "F32") return "";
  double sum = 0.0, square = 0.0;
  std::size_t bad = 0;
  const std::vector<float> values = tensor.values<float>();
  for (const float v : values) {
    bad += std::isfinite(v) ? 0 : 1;
    sum += static_cast<double>(v);
    square += static_cast<double>(v) * static_cast<double>(v);
  }
  const auto n = static_cast<double>(values.size());
  std::string text = fmt::format("mean {:.4g}, rms {:.4g}", sum / n, std::sqrt(square / n));
  if (bad > 0) text += fmt::format(", {} NOT FINITE", bad);
  return text;
}

/// Prints the events of all ranks in order of time, then the diagnosis.
int inspect_flight(const std::string& folder) {
  const std::vector<FlightRecord> records = read_flight(folder);
  std::vector<std::pair<int, const FlightEvent*>> merged;
  for (const FlightRecord& record : records)
    for (const FlightEvent& event : record.events) merged.emplace_back(record.rank, &event);
  std::stable_sort(merged.begin(), merged.end(),
                   [](const auto& a, const auto& b) { return a.second->time < b.second->time; });
  const double begin = merged.empty() ? 0.0 : merged.front().second->time;
  std::string text;
  for (const auto& [rank, event] : merged)
    text += fmt::format("{:>10.6f} s  rank {:<4} {:<5}  {}\n", event->time - begin, rank,
                        kFlightKinds[static_cast<std::size_t>(event->kind)], flight_text(*event));
  for (const FlightRecord& record : records) {
    text += fmt::format("\nrank {}: {}\n", record.rank, record.reason);
    for (const std::string& frame : record.stack) text += "  " + frame + "\n";
  }
  std::cout << printable(text + "\n" + judge_flight(records).text) << "\n";
  return 0;
}

}  // namespace

int run_inspect(const CommandLine& line, Communicator&) {
  if (line.flight) return inspect_flight(line.file);
  const Checkpoint checkpoint = read_checkpoint(line.file);
  std::string text = fmt::format(
      "{}: step {}, epoch {}, {} samples into the next epoch{}\n", line.file, checkpoint.step,
      checkpoint.epoch, checkpoint.sample_position, checkpoint.last ? ", the last of its run" : "");
  if (checkpoint.best_step >= 0)
    text += fmt::format("best validation {} {:.2f}% at step {}\n",
                        checkpoint.input.per_pixel ? "mIoU" : "accuracy",
                        100.0 * checkpoint.best_score, checkpoint.best_step);
  text += fmt::format("data fingerprint {}; all checksums match\n", checkpoint.data_fingerprint);
  for (const auto& [name, bytes] : checkpoint.files) {
    text += fmt::format("\n{} ({} bytes)\n", printable_name(name), bytes.size());
    for (const TensorView& tensor : parse_safetensors(bytes, name))
      text += fmt::format("  {:<48} {} [{}]  {}\n", printable_name(tensor.name), tensor.dtype,
                          fmt::join(tensor.shape, ", "), value_summary(tensor));
  }
  std::cout << printable(text + "\nconfiguration\n" + checkpoint.config);
  return 0;
}

}  // namespace syncnorm
