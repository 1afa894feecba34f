// Measures rounds of steps, alternating between kinds, and the cost of each reduction in them.
#include "engine/train/bench.h"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/train/divergence.h"

namespace syncnorm {
namespace {

/// Hook that adds up the seconds of every instruction over all local replicas, including waits. On
/// a device with queues it waits until the device has run each instruction.
class InstructionSeconds final : public ExecutionHook {
 public:
  InstructionSeconds(Executor& executor, Device& device)
      : executor_(executor), device_(device), seconds_(executor.program().instructions.size()) {
    executor.add_hook(*this);
  }
  ~InstructionSeconds() override { executor_.remove_hook(*this); }
  InstructionSeconds(const InstructionSeconds&) = delete;
  InstructionSeconds& operator=(const InstructionSeconds&) = delete;

  const std::vector<double>& seconds() const { return seconds_; }

  bool before(Executor&, std::size_t index, const StepState&) override {
    running_ = index;
    device_.synchronize();  // for what was queued before the first instruction
    begin_ = Clock::now();
    return true;
  }
  void after(Executor&, std::size_t index, const StepState&) override {
    if (running_ != index) return;
    device_.synchronize();
    seconds_[index] += seconds_since(begin_);
  }
  bool in_every_step() const override { return true; }

 private:
  Executor& executor_;
  Device& device_;
  std::vector<double> seconds_;
  std::size_t running_ = 0;  // others are postponed to a later wave
  Clock::time_point begin_;
};

/// Runs steps from a fresh start and discards the results.
class BenchLoop {
 public:
  BenchLoop(Setup& setup, std::int64_t steps)
      : setup_(setup), corrupt_(setup.experiment.data.images.corrupt), loop_(setup, corrupt_) {
    setup.initialize();
    loop_.load(0, steps);
  }

  const Batch& current_batch() const { return loop_.current_batch(); }

  /// Runs the next step and returns its seconds.
  double one_step() {
    loop_.start(step_++);
    return finish();
  }

  /// Returns the seconds of a step: on the CPU the median of `count` steps; on a device with queues
  /// their mean, since steps overlap there.
  double timed_steps(int count) {
    std::vector<double> seconds;
    const auto begin = Clock::now();
    for (int s = 0; s < count; ++s) {
      loop_.start(step_++);
      if (loop_.in_flight() == loop_.most_in_flight()) seconds.push_back(finish());
    }
    while (loop_.in_flight() > 0) finish();
    return setup_.full->queued() ? seconds_since(begin) / count : median(seconds);
  }

 private:
  double finish() {
    const StepDone step = loop_.finish();
    if (step.outcome == StepDone::Outcome::unusable) {
      const std::string message = unusable_on_any_rank(setup_.comm, *step.batch);
      loop_.abandon();
      throw InputError(message);
    }
    if (step.outcome == StepDone::Outcome::not_finite)
      throw DivergedError(why_diverged(setup_, loop_, step));
    return step.event.seconds;
  }

  Setup& setup_;
  CorruptImages corrupt_;
  StepLoop loop_;
  std::int64_t step_ = 0;
};

/// Per-step costs of all reductions, by round of one kind of step.
class Costs {
 public:
  explicit Costs(const Executor& executor)
      : executor_(executor),
        in_flight_(executor.reductions().timings().size()),
        exposed_(in_flight_.size()) {}

  void begin_round() { before_ = executor_.reductions().timings(); }
  void end_round(int steps) {
    const std::vector<ReductionTiming>& now = executor_.reductions().timings();
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

/// Returns the element-wise mean over ranks.
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
std::vector<OperationBench> operations_of(const Executor& executor,
                                          const std::vector<double>& seconds, int steps) {
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
    found->seconds += seconds[i] / steps;
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

StepTimes time_instructions(Setup& setup, int steps) {
  const int warmup = BenchOptions{}.warmup;
  BenchLoop loop(setup, warmup + steps);
  for (int step = 0; step < warmup; ++step) loop.one_step();
  Executor& executor = *setup.full;
  const InstructionSeconds measured(executor, setup.device);
  const std::size_t count = measured.seconds().size();
  std::vector<std::vector<double>> seconds(count);
  std::vector<double> rest, before;
  for (int step = 0; step < steps; ++step) {
    before = measured.seconds();
    double whole = loop.one_step();
    for (std::size_t i = 0; i < count; ++i) {
      seconds[i].push_back(measured.seconds()[i] - before[i]);
      whole -= seconds[i].back();
    }
    rest.push_back(whole);
  }
  StepTimes times;
  times.update = std::max(0.0, median(rest));
  for (std::vector<double>& of_one : seconds) times.instructions.push_back(median(of_one));
  return times;
}

StepBench bench_steps(Setup& setup, const BenchOptions& options) {
  const int kinds = options.instructions ? 3 : 2;
  BenchLoop loop(
      setup, 3 * options.warmup + std::int64_t{kinds} * options.rounds * options.steps_per_round);
  Executor& executor = *setup.full;
  for (int step = 0; step < options.warmup; ++step) loop.one_step();
  if (executor.queued())  // both kinds of step must be recorded before they are measured
    for (const bool overlap : {false, true}) {
      executor.reductions().set_overlap(overlap);
      loop.timed_steps(options.warmup);
    }
  Costs overlapped(executor), waited(executor);
  std::vector<double> step_seconds, waited_seconds, limit_seconds, profiled_seconds;
  std::vector<double> instruction_seconds(executor.program().instructions.size());
  for (int round = 0; round < options.rounds; ++round) {
    for (const bool overlap : {true, false}) {
      executor.reductions().set_overlap(overlap);
      Costs& costs = overlap ? overlapped : waited;
      costs.begin_round();
      const double seconds = loop.timed_steps(options.steps_per_round);
      costs.end_round(options.steps_per_round);
      (overlap ? step_seconds : waited_seconds).push_back(seconds);
    }
    executor.reductions().set_overlap(true);
    if (options.instructions) {
      const InstructionSeconds measured(executor, setup.device);
      for (int s = 0; s < options.steps_per_round; ++s) profiled_seconds.push_back(loop.one_step());
      for (std::size_t i = 0; i < instruction_seconds.size(); ++i)
        instruction_seconds[i] += measured.seconds()[i];
    }
    if (!options.limit) continue;
    for (int s = 0; s < options.steps_per_round; ++s) {
      const auto begin = Clock::now();
      executor.run_limit({}, view_of(loop.current_batch()));
      setup.device.synchronize();
      limit_seconds.push_back(seconds_since(begin));
    }
  }

  StepBench bench;
  bench.ranks = setup.comm.size();
  bench.queued = executor.queued();
  bench.samples = static_cast<int>(setup.batching.global_batch());
  bench.step = median(step_seconds);
  bench.unoverlapped = median(waited_seconds);
  if (options.limit) bench.limit = median(limit_seconds);
  if (options.instructions) {
    bench.operations =
        operations_of(executor, instruction_seconds, options.rounds * options.steps_per_round);
    double inside = 0.0, whole = 0.0;
    for (const OperationBench& o : bench.operations) inside += o.seconds;
    for (const double seconds : profiled_seconds)
      whole += seconds / static_cast<double>(profiled_seconds.size());
    bench.operations.push_back({"update", "optimizer, loader, log", 1, whole - inside});
  }
  const std::vector<ReductionSpec>& specs = executor.program().reductions;
  std::vector<double> values;
  for (std::size_t r = 0; r < specs.size(); ++r)
    for (const double value : {overlapped.in_flight(r), overlapped.exposed(r), waited.exposed(r)})
      values.push_back(value);
  values = mean_over_ranks(setup.comm, values);
  for (std::size_t r = 0; r < specs.size(); ++r) {
    const std::size_t bytes = executor.reductions().bytes_sent(static_cast<int>(r));
    if (bytes == 0) continue;
    bench.reductions.push_back(
        {specs[r].kind, specs[r].name, bytes, values[3 * r], values[3 * r + 1], values[3 * r + 2]});
  }
  return bench;
}

}  // namespace syncnorm
