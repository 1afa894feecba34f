// See running.h.
#include "engine/state/running.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"
#include "kernels/norm_math.h"

namespace syncnorm {
namespace {

constexpr std::size_t kMostGathered = std::numeric_limits<int>::max();  // values, as MPI counts

}  // namespace

void pair_from_totals(const RunningSlot& slot, std::span<const double> totals, float* set) {
  const double n = totals[0];
  const auto channels = static_cast<std::size_t>(slot.channels);
  for (std::size_t c = 0; c < channels; ++c) {
    const MeanVariance m = from_sums(n, totals[1 + c], totals[1 + channels + c]);
    set[slot.mean + c] = static_cast<float>(m.mean);
    set[slot.variance + c] = static_cast<float>(n > 1.0 ? m.variance * (n / (n - 1.0)) : 0.0);
  }
}

RunningStatistics::RunningStatistics(const Program& program, Communicator& comm,
                                     const Placement& placement, Memory& memory)
    : slots_(program.running),
      floats_(program.running_floats),
      history_floats_(program.history_floats),
      frozen_(!program.has_batch_norms),
      group_size_(frozen_ ? placement.replicas : program.group_size()),
      groups_(placement.replicas / group_size_),
      comm_(comm),
      memory_(memory),
      own_replicas_(placement.block(comm.rank())) {
  if (static_cast<std::size_t>(groups_) * history_floats_ > kMostGathered)
    throw InputError(
        ConfigKey{"norm.window"},
        fmt::format("{} sets of replicas would keep {} values of earlier updates each, more than a "
                    "checkpoint can gather; give a shorter window, or give most layers another "
                    "norm in norm.layers",
                    groups_, history_floats_));
  for (int r = 0; r < placement.ranks; ++r) {
    const Interval block = placement.block(r);
    const auto first_group = [&](int replica) { return (replica + group_size_ - 1) / group_size_; };
    spoken_for_.push_back({first_group(block.begin), first_group(block.end)});
  }
  if (floats_ > 0 && groups_ > 1)
    reduction_ = std::make_unique<Reduction<double>>(
        comm_, spoken_for_, floats_, ReductionAlgorithm::tree, "averaged running statistics");
}

float* RunningStatistics::local_set(int group) const {
  if (frozen_) return memory_.averaged.host<float>().data();
  const int local = group - own_replicas_.begin / group_size_;
  return memory_.running.host<float>().data() + static_cast<std::size_t>(local) * floats_;
}

void RunningStatistics::initialize() {
  if (floats_ == 0) return;
  for (int g = first_local(); g <= last_local(); ++g) {
    std::fill_n(local_set(g), floats_, 0.0f);
    for (const RunningSlot& slot : slots_)
      std::fill_n(local_set(g) + slot.variance, slot.channels, 1.0f);
  }
  push();
}

void RunningStatistics::push() { (frozen_ ? memory_.averaged : memory_.running).push(); }

void RunningStatistics::average() {
  if (floats_ == 0 || frozen_) return;
  memory_.running.pull();
  float* averaged = memory_.averaged.host<float>().data();
  if (groups_ == 1) {
    std::memcpy(averaged, local_set(0), floats_ * sizeof(float));
    memory_.averaged.push();
    return;
  }
  const Interval own = spoken_for_[static_cast<std::size_t>(comm_.rank())];
  std::vector<std::vector<double>> sets;
  for (int g = own.begin; g < own.end; ++g) sets.emplace_back(local_set(g), local_set(g) + floats_);
  std::vector<double*> leaves;
  for (std::vector<double>& set : sets) leaves.push_back(set.data());
  std::vector<double> sum(floats_);
  reduction_->start_leaves(leaves, sum.data());
  reduction_->wait();
  for (std::size_t i = 0; i < floats_; ++i) averaged[i] = static_cast<float>(sum[i] / groups_);
  memory_.averaged.push();
}

std::vector<float> RunningStatistics::gather(Mirror& sets, std::size_t floats, const char* what) {
  std::vector<float> all(static_cast<std::size_t>(groups_) * floats);
  if (floats == 0) return all;
  sets.pull();
  std::vector<int> counts;
  for (const Interval& groups : spoken_for_)
    counts.push_back(groups.size() * static_cast<int>(floats));
  const Interval own = spoken_for_[static_cast<std::size_t>(comm_.rank())];
  const std::size_t first = static_cast<std::size_t>(own.begin - first_local()) * floats;
  const std::span<const float> held = sets.host<float>();
  const float* const from = own.empty() ? nullptr : held.data() + first;
  const auto request = comm_.make_request();
  comm_.start_all_gather<float>(*request, {from, static_cast<std::size_t>(own.size()) * floats},
                                all, counts);
  comm_.wait(*request, what);
  return all;
}

void RunningStatistics::scatter_to(Mirror& sets, std::size_t floats,
                                   const std::vector<float>& all) const {
  if (floats == 0) return;
  const std::span<float> held = sets.host<float>();
  for (int g = first_local(); g <= last_local(); ++g)
    std::copy_n(
        all.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(g) * floats), floats,
        held.begin() +
            static_cast<std::ptrdiff_t>(static_cast<std::size_t>(g - first_local()) * floats));
  sets.push();
}

std::vector<float> RunningStatistics::gather_all() {
  return gather(frozen_ ? memory_.averaged : memory_.running, floats_,
                "running statistics of all groups");
}

void RunningStatistics::scatter(const std::vector<float>& all) {
  scatter_to(frozen_ ? memory_.averaged : memory_.running, floats_, all);
}

std::vector<float> RunningStatistics::gather_history() {
  return gather(memory_.history, history_floats_, "what norms keep of earlier updates");
}

void RunningStatistics::scatter_history(const std::vector<float>& all) {
  scatter_to(memory_.history, history_floats_, all);
}

void RunningStatistics::spread_averaged() {
  if (floats_ == 0 || frozen_) return;
  for (int g = first_local(); g <= last_local(); ++g)
    std::copy_n(memory_.averaged.host<float>().begin(), floats_, local_set(g));
  push();
}

}  // namespace syncnorm
