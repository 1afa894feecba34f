// See reductions.h. The host's reductions are here, queued ones in queued_reduction.cpp.
#include "engine/program/reductions.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "engine/program/queued_reduction.h"

namespace syncnorm {
namespace {

/// A reduction computed by the host, whose memory holds the leaves.
template <class T>
class HostReduction final : public StepReduction {
 public:
  HostReduction(Communicator& comm, const std::vector<Interval>& blocks, const ReductionSpec& spec,
                ReductionAlgorithm algorithm, bool folded)
      : reduction_(comm, blocks, spec.count, algorithm, spec.name, spec.combine), folded_(folded) {
    const FoldPlan& plan = reduction_.local_plan();
    leaves_.resize(folded ? plan.subtrees.size() : plan.merges.size());
  }

  void start(const ReductionBuffers& buffers) override {
    auto* at = static_cast<std::byte*>(buffers.leaves);
    for (T*& leaf : leaves_) {
      leaf = reinterpret_cast<T*>(at);
      at += buffers.stride;
    }
    auto* result = static_cast<T*>(buffers.result);
    if (folded_)
      reduction_.start({const_cast<const T* const*>(leaves_.data()), leaves_.size()}, result);
    else
      reduction_.start_leaves(leaves_, result);
  }
  bool test() override { return reduction_.test(); }
  void wait() override { reduction_.wait(); }
  std::size_t bytes_sent() const override { return reduction_.values_sent() * sizeof(T); }

 private:
  Reduction<T> reduction_;
  bool folded_;  // the leaves already are subtrees
  std::vector<T*> leaves_;
};

/// Returns true if each of this rank's replicas writes a gradient of its own, which the reduction
/// folds: on a device that takes one launch for a bucket, and merging while gradients arrive one
/// for every parameter and replica.
bool has_slot_per_replica(const Program& program, const FoldPlan& plan) {
  constexpr std::size_t kMostBytes = std::size_t{4} << 30;
  return !program.options.merge_replicas &&
         plan.slot.size() * program.parameter_floats * sizeof(float) <= kMostBytes;
}

FoldPlan slot_per_replica(FoldPlan plan) {
  std::iota(plan.slot.begin(), plan.slot.end(), 0);
  std::fill(plan.merges.begin(), plan.merges.end(), 0);
  plan.slots = static_cast<int>(plan.slot.size());
  return plan;
}

}  // namespace

Reductions::Reductions(const Program& program, Device& device, Communicator& comm,
                       const Placement& placement, const StatisticsGroups* groups,
                       const Options& options)
    : queued_(options.queued), timings_(program.reductions.size()) {
  const std::vector<Interval> blocks = placement.blocks();
  if (queued_) marks_ = device.allocate_pinned(sizeof(ReductionMarks));
  auto* marks = reinterpret_cast<ReductionMarks*>(marks_.data());
  for (const ReductionSpec& spec : program.reductions) {
    const bool gradient = spec.kind == ReductionKind::gradient;
    const int number = static_cast<int>(entries_.size()) + 1;
    if (gradient)  // the plan is the same for every bucket
      gradient_plan_ = ReductionPlan(blocks, comm.rank(), spec.count, sizeof(float),
                                     options.algorithm, ReductionPlan::kLargeBytes)
                           .local;
    const bool by_replica = queued_ && has_slot_per_replica(program, gradient_plan_);
    if (gradient && by_replica) gradient_plan_ = slot_per_replica(gradient_plan_);
    const auto make = [&](Communicator& ranks,
                          const std::vector<Interval>& leaves) -> std::unique_ptr<StepReduction> {
      if (!queued_) {
        if (gradient)
          return std::make_unique<HostReduction<float>>(ranks, leaves, spec, options.algorithm,
                                                        true);
        return std::make_unique<HostReduction<double>>(ranks, leaves, spec, options.algorithm,
                                                       false);
      }
      QueuedReductionOptions queued;
      queued.blocks = leaves;
      queued.count = spec.count;
      queued.algorithm = options.algorithm;
      queued.combine = spec.combine;
      queued.forced = options.forced;
      queued.number = number;
      queued.folded = gradient && !by_replica;
      if (gradient) {
        queued.stride = program.parameter_floats;
        return make_queued_reduction<float>(device, ranks, queued, marks);
      }
      const Tensor& leaf = program.tensors[static_cast<std::size_t>(spec.leaf)];
      queued.stride = leaf.stride / sizeof(double);
      return make_queued_reduction<double>(device, ranks, queued, marks);
    };
    Entry entry;
    entry.kind = spec.kind;
    if (gradient || spec.kind == ReductionKind::loss)
      entry.by_group.push_back(make(comm, blocks));
    else
      for (const LocalGroup& group : groups->groups())
        entry.by_group.push_back(make(*group.comm, group.blocks));
    entries_.push_back(std::move(entry));
  }
  std::size_t most = 0;
  for (const Entry& entry : entries_) most += entry.by_group.size();
  in_flight_.reserve(most);
}

void Reductions::wait(int index) {
  const auto begin = Clock::now();
  for (const auto& reduction : entries_[static_cast<std::size_t>(index)].by_group)
    reduction->wait();
  progress();  // removes completed reductions from the list
  add_exposed(index, begin);
}

void Reductions::progress() {
  std::erase_if(in_flight_, [this](const InFlight& f) {
    if (!f.reduction->test()) return false;
    landed(f.index);
    return true;
  });
}

void Reductions::start_one(int index, StepReduction& reduction, const ReductionBuffers& buffers) {
  reduction.start(buffers);
  if (queued_) return;
  ++entries_[static_cast<std::size_t>(index)].in_flight;
  if (reduction.test())
    landed(index);
  else
    in_flight_.push_back({&reduction, index});
}

void Reductions::landed(int index) {
  Entry& entry = entries_[static_cast<std::size_t>(index)];
  if (--entry.in_flight == 0)
    timings_[static_cast<std::size_t>(index)].in_flight += seconds_since(entry.started);
}

void Reductions::add_exposed(int index, Clock::time_point begin) {
  const double seconds = seconds_since(begin);
  timings_[static_cast<std::size_t>(index)].exposed += seconds;
  time_of(entries_[static_cast<std::size_t>(index)].kind) += seconds;
}

double& Reductions::time_of(ReductionKind kind) {
  switch (kind) {
    case ReductionKind::forward_statistics:
      return times_.statistics_forward;
    case ReductionKind::backward_statistics:
      return times_.statistics_backward;
    case ReductionKind::gradient:
      return times_.gradient;
    case ReductionKind::loss:
      break;
  }
  return times_.loss;
}

std::size_t Reductions::bytes_sent(int index) const {
  std::size_t bytes = 0;
  for (const auto& reduction : entries_[static_cast<std::size_t>(index)].by_group)
    bytes += reduction->bytes_sent();
  return bytes;
}

const volatile ReductionMarks* Reductions::marks() const {
  return reinterpret_cast<const volatile ReductionMarks*>(marks_.data());
}

void Reductions::check() const {
  for (const Entry& entry : entries_)
    for (const auto& reduction : entry.by_group) reduction->check();
}

void Reductions::give_up() const {
  for (const Entry& entry : entries_)
    for (const auto& reduction : entry.by_group) reduction->give_up();
}

}  // namespace syncnorm
