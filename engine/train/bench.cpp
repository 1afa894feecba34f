// Trainer::bench: rounds of steps in turns, and what each reduction cost in them.
#include "engine/train/bench.h"

#include <algorithm>
#include <chrono>
#include <sstream>

#include <fmt/format.h>

#include "engine/train/trainer.h"

namespace syncnorm {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Per-step costs of all reductions over the rounds of one kind of step.
class Costs {
 public:
  explicit Costs(const Executor& executor)
      : executor_(executor),
        in_flight_(executor.reduction_timings().size()),
        exposed_(in_flight_.size()) {}

  void begin_round() { before_ = executor_.reduction_timings(); }
  void end_round(int steps) {
    const std::vector<ReductionTiming>& now = executor_.reduction_timings();
    for (std::size_t r = 0; r < now.size(); ++r) {
      in_flight_[r].push_back((now[r].in_flight - before_[r].in_flight) / steps);
      exposed_[r].push_back((now[r].exposed - before_[r].exposed) / steps);
    }
  }
  double in_flight(std::size_t r) const { return median(in_flight_[r]); }
  double exposed(std::size_t r) const { return median(exposed_[r]); }

 private:
  const Executor& executor_;
  std::vector<ReductionTiming> before_;
  std::vector<std::vector<double>> in_flight_, exposed_;  // [reduction][round]
};

/// Mean over ranks, element by element.
std::vector<double> mean_over_ranks(Communicator& comm, const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += fmt::format("{} ", value);
  std::vector<double> mean(values.size(), 0.0);
  for (const std::string& line : comm.all_gather_text(text)) {
    std::istringstream in(line);
    for (double& sum : mean) {
      double value = 0.0;
      in >> value;
      sum += value / comm.size();
    }
  }
  return mean;
}

/// Sums the measured instructions by pass and operation.
std::vector<OperationBench> operations_of(const Executor& executor, int steps) {
  std::vector<OperationBench> list;
  const std::vector<Instruction>& instructions = executor.program().instructions;
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    const Instruction& in = instructions[i];
    const bool compute = in.kind == InstructionKind::compute;
    const std::string operation =
        compute ? op_name(in.op)
                : (in.kind == InstructionKind::reduce_start ? "start reductions" : "wait");
    const std::string pass =
        in.pass == Pass::prepare ? "prepare" : (in.pass == Pass::forward ? "forward" : "backward");
    auto found = std::find_if(list.begin(), list.end(), [&](const OperationBench& o) {
      return o.pass == pass && o.operation == operation;
    });
    if (found == list.end()) found = list.insert(list.end(), {pass, operation, 0, 0.0});
    ++found->instructions;
    found->seconds += executor.instruction_seconds()[i] / steps;
  }
  return list;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

ReductionBench total_of(const StepBench& bench, ReductionKind kind) {
  ReductionBench total;
  total.kind = kind;
  for (const ReductionBench& r : bench.reductions) {
    if (r.kind != kind) continue;
    total.bytes += r.bytes;
    total.in_flight += r.in_flight;
    total.exposed += r.exposed;
    total.unoverlapped += r.unoverlapped;
  }
  return total;
}

/// Seconds of a step: on the CPU the median of `count`, on a device with queues their mean, for a
/// step there has no end of its own.
double Trainer::timed_steps(std::int64_t& step, int count) {
  std::vector<double> seconds;
  const auto begin = Clock::now();
  for (int s = 0; s < count; ++s) {
    start_step(step++);
    if (static_cast<int>(pending_.size()) == steps_->most_in_flight())
      seconds.push_back(finish_step().seconds);
  }
  while (!pending_.empty()) finish_step();
  return device_.host_memory() ? median(seconds) : since(begin) / count;
}

StepTimes Trainer::time_instructions(int steps) {
  initialize();
  const int warmup = BenchOptions{}.warmup;
  loader_ = make_loader(0, warmup + steps);
  for (std::int64_t step = 0; step < warmup; ++step) one_step(step);
  full_->set_profile(true);
  const std::size_t count = full_->instruction_seconds().size();
  std::vector<std::vector<double>> seconds(count);
  std::vector<double> rest;
  for (std::int64_t step = warmup; step < warmup + steps; ++step) {
    const std::vector<double> before = full_->instruction_seconds();
    double whole = one_step(step).seconds;
    for (std::size_t i = 0; i < count; ++i) {
      seconds[i].push_back(full_->instruction_seconds()[i] - before[i]);
      whole -= seconds[i].back();
    }
    rest.push_back(whole);
  }
  full_->set_profile(false);
  StepTimes times;
  times.update = std::max(0.0, median(rest));
  for (std::vector<double>& of_one : seconds) times.instructions.push_back(median(of_one));
  return times;
}

StepBench Trainer::bench(const BenchOptions& options) {
  initialize();
  const int kinds = options.instructions ? 3 : 2;
  const std::int64_t steps =
      3 * options.warmup + std::int64_t{kinds} * options.rounds * options.steps_per_round;
  loader_ = make_loader(0, steps);
  std::int64_t step = 0;
  while (step < options.warmup) one_step(step++);
  if (!device_.host_memory())  // both kinds of step are recorded before they are measured
    for (const bool overlap : {false, true}) {
      full_->set_overlap(overlap);
      timed_steps(step, options.warmup);
    }
  Costs overlapped(*full_), waited(*full_);
  std::vector<double> step_seconds, waited_seconds, limit_seconds, profiled_seconds;
  for (int round = 0; round < options.rounds; ++round) {
    for (const bool overlap : {true, false}) {
      full_->set_overlap(overlap);
      Costs& costs = overlap ? overlapped : waited;
      costs.begin_round();
      const double seconds = timed_steps(step, options.steps_per_round);
      costs.end_round(options.steps_per_round);
      (overlap ? step_seconds : waited_seconds).push_back(seconds);
    }
    full_->set_overlap(true);
    if (options.instructions) {
      full_->set_profile(true);
      for (int s = 0; s < options.steps_per_round; ++s)
        profiled_seconds.push_back(one_step(step++).seconds);
      full_->set_profile(false);
    }
    if (!options.limit) continue;
    const Batch& batch = loader_->current();
    for (int s = 0; s < options.steps_per_round; ++s) {
      const auto begin = Clock::now();
      full_->run_limit({}, view(batch));
      device_.synchronize();
      limit_seconds.push_back(since(begin));
    }
  }

  StepBench bench;
  bench.ranks = comm_.size();
  bench.samples = static_cast<int>(plan_.global_batch());
  bench.step = median(step_seconds);
  bench.unoverlapped = median(waited_seconds);
  if (options.limit) bench.limit = median(limit_seconds);
  if (options.instructions) {
    bench.operations = operations_of(*full_, options.rounds * options.steps_per_round);
    double inside = 0.0, whole = 0.0;
    for (const OperationBench& o : bench.operations) inside += o.seconds;
    for (const double seconds : profiled_seconds)
      whole += seconds / static_cast<double>(profiled_seconds.size());
    bench.operations.push_back({"update", "optimizer, loader, log", 1, whole - inside});
  }
  const std::vector<ReductionSpec>& specs = full_->program().reductions;
  std::vector<double> values;
  for (std::size_t r = 0; r < specs.size(); ++r)
    for (const double value : {overlapped.in_flight(r), overlapped.exposed(r), waited.exposed(r)})
      values.push_back(value);
  values = mean_over_ranks(comm_, values);
  for (std::size_t r = 0; r < specs.size(); ++r) {
    const std::size_t bytes = full_->bytes_sent(static_cast<int>(r));
    if (bytes == 0) continue;
    bench.reductions.push_back(
        {specs[r].kind, specs[r].name, bytes, values[3 * r], values[3 * r + 1], values[3 * r + 2]});
  }
  return bench;
}

}  // namespace syncnorm
