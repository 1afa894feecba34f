// See predict.h.
#include "engine/scale/predict.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace syncnorm {
namespace {

/// Returns the messages that send `bytes` to each other rank at once.
Messages to_all_others(double bytes, const Network& network, int ranks) {
  Messages m;
  m.count = ranks - 1;
  m.bytes = m.count * bytes;
  const int near = std::min(ranks, network.ranks_per_node) - 1;
  const int far = ranks - 1 - near;
  m.transfer = near * bytes / network.inside.bandwidth + far * bytes / network.between.bandwidth;
  m.latency = far > 0 ? network.between.latency : network.inside.latency;
  return m;
}

/// Returns the rounds of pairwise exchanges; each is that of the rank with the most work.
std::vector<Messages> in_pairs(const StepSchedule::Sum& sum, const Network& network, int ranks,
                               bool halving) {
  std::vector<Messages> rounds;
  const auto add = [&](int peer, int count, std::size_t values) {
    const Link& link = network.link(0, peer);
    const double bytes = count * static_cast<double>(values * sum.bytes_per_value);
    rounds.push_back({count, bytes, bytes / link.bandwidth, link.latency});
  };
  if (halving) {
    for (const ExchangeRound& r : exchange_rounds(0, ranks, sum.count, true))
      add(r.peer, 1, std::max(r.send_count, r.receive_count));
    return rounds;
  }
  for (int bit = 1; bit < ranks; bit *= 2) {
    const int behind = ranks % (2 * bit) - bit;  // ranks of the last subtree, if it is not complete
    add(bit, behind > 0 ? (bit + behind - 1) / behind : 1, sum.count);
  }
  return rounds;
}

/// The timeline of one rank that runs a schedule.
class Timeline {
 public:
  Timeline(const StepSchedule& schedule, const Network& network, int ranks, int group,
           ReductionAlgorithm algorithm)
      : network_(network) {
    for (const StepSchedule::Sum& sum : schedule.sums)
      sums_.push_back({rounds_of(sum, network, is_statistics(sum) ? group : ranks, algorithm)});
  }

  StepPrediction run(const StepSchedule& schedule) {
    StepPrediction result;
    for (const StepSchedule::Item& item : schedule.items) {
      const double before = now_;
      if (item.kind == InstructionKind::compute) now_ += item.seconds;
      if (item.kind == InstructionKind::reduce_start) start(item.reduction, item.seconds);
      if (item.kind == InstructionKind::reduce_wait) wait(item.reduction);
      if (item.kind != InstructionKind::compute) {
        const auto& sum = schedule.sums[static_cast<std::size_t>(item.reduction)];
        (is_statistics(sum) ? result.statistics : result.gradients) += now_ - before;
      }
      progress();
    }
    result.step = now_ + schedule.update;
    return result;
  }

 private:
  struct Flight {
    std::vector<Messages> rounds;
    std::size_t round = 0;
    double arrives = 0.0;  // of the current round
    bool in_flight = false;
  };
  static bool is_statistics(const StepSchedule::Sum& sum) {
    return sum.kind == ReductionKind::forward_statistics ||
           sum.kind == ReductionKind::backward_statistics;
  }

  void send(Flight& f) {
    const Messages& m = f.rounds[f.round];
    now_ += network_.held(m.count, m.bytes);
    link_free_ = std::max(now_, link_free_) + m.transfer;
    f.arrives = link_free_ + m.latency;
  }
  /// Receives the current round and starts the next one.
  void receive(Flight& f) {
    const Messages& m = f.rounds[f.round];
    now_ = std::max(now_, f.arrives) + network_.held(m.count, m.bytes);
    f.in_flight = ++f.round < f.rounds.size();
    if (f.in_flight) send(f);
  }
  void start(int index, double seconds) {
    Flight& f = sums_[static_cast<std::size_t>(index)];
    f.round = 0;
    f.in_flight = !f.rounds.empty();
    if (!f.in_flight) return;
    now_ += seconds;
    send(f);
  }
  void wait(int index) {
    Flight& f = sums_[static_cast<std::size_t>(index)];
    while (f.in_flight) receive(f);
  }
  void progress() {
    for (Flight& f : sums_)
      while (f.in_flight && f.arrives <= now_) receive(f);
  }

  const Network& network_;
  std::vector<Flight> sums_;
  double now_ = 0.0, link_free_ = 0.0;
};

}  // namespace

double StepSchedule::computing() const {
  double total = update;
  for (const Item& item : items)
    if (item.kind == InstructionKind::compute) total += item.seconds;
  return total;
}

StepSchedule schedule_of(const Program& program, const std::vector<double>& seconds, double update,
                         int measured, int replicas) {
  assert(seconds.size() == program.instructions.size());
  StepSchedule schedule;
  schedule.update = update;
  for (const ReductionSpec& spec : program.reductions)
    schedule.sums.push_back(
        {spec.kind, spec.count,
         spec.kind == ReductionKind::gradient ? sizeof(float) : sizeof(double)});
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    const Instruction& in = program.instructions[i];
    const bool grows = in.scope == Scope::replica || in.scope == Scope::merged ||
                       in.kind == InstructionKind::reduce_start;
    const double share = grows ? static_cast<double>(replicas) / measured : 1.0;
    schedule.items.push_back({in.kind, share * seconds[i], in.reduction});
  }
  return schedule;
}

std::vector<Messages> rounds_of(const StepSchedule::Sum& sum, const Network& network, int ranks,
                                ReductionAlgorithm algorithm) {
  if (ranks < 2) return {};
  const std::size_t bytes = sum.count * sum.bytes_per_value;
  const bool sliced =
      bytes > ReductionPlan::kLargeBytes && sum.count >= static_cast<std::size_t>(ranks);
  const bool power_of_two = std::has_single_bit(static_cast<unsigned>(ranks));
  // Models an engine's own sum as pairwise exchanges. Ranks beyond a power of two cost one more
  // round before and one after.
  if (algorithm == ReductionAlgorithm::engine) {
    const auto floor = static_cast<int>(std::bit_floor(static_cast<unsigned>(ranks)));
    std::vector<Messages> rounds = in_pairs(sum, network, floor, sliced);
    if (!power_of_two) {
      const auto all = static_cast<double>(bytes);
      const Messages whole{1, all, all / network.between.bandwidth, network.between.latency};
      rounds.insert(rounds.begin(), whole);
      rounds.push_back(whole);
    }
    return rounds;
  }
  if (ranks >= ReductionPlan::kExchangeRanks && (power_of_two || !sliced))
    return in_pairs(sum, network, ranks, sliced);
  if (!sliced) return {to_all_others(static_cast<double>(bytes), network, ranks)};
  const Messages slice = to_all_others(static_cast<double>(bytes) / ranks, network, ranks);
  return {slice, slice};
}

StepPrediction predict(const StepSchedule& schedule, const Network& network, int ranks, int group,
                       ReductionAlgorithm algorithm) {
  assert(ranks >= 1 && group >= 1 && ranks % group == 0);
  return Timeline(schedule, network, ranks, group, algorithm).run(schedule);
}

}  // namespace syncnorm
