// See running.h.
#include "engine/state/running.h"

#include <algorithm>
#include <cstring>

#include "kernels/norm_math.h"

namespace syncnorm {

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
      frozen_(!program.has_batch_norms),
      group_size_(frozen_ ? placement.replicas : program.group_size()),
      groups_(placement.replicas / group_size_),
      comm_(comm),
      memory_(memory),
      own_replicas_(placement.block(comm.rank())) {
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

std::vector<float> RunningStatistics::gather_all() {
  std::vector<float> all(static_cast<std::size_t>(groups_) * floats_);
  if (floats_ == 0) return all;
  memory_.running.pull();
  std::vector<int> counts;
  for (const Interval& groups : spoken_for_)
    counts.push_back(groups.size() * static_cast<int>(floats_));
  const Interval own = spoken_for_[static_cast<std::size_t>(comm_.rank())];
  const float* first = own.empty() ? nullptr : local_set(own.begin);
  const auto request = comm_.make_request();
  comm_.start_all_gather<float>(*request, {first, static_cast<std::size_t>(own.size()) * floats_},
                                all, counts);
  comm_.wait(*request, "running statistics of all groups");
  return all;
}

void RunningStatistics::scatter(const std::vector<float>& all) {
  if (floats_ == 0) return;
  for (int g = first_local(); g <= last_local(); ++g)
    std::copy_n(all.begin() + static_cast<long>(static_cast<std::size_t>(g) * floats_), floats_,
                local_set(g));
  push();
}

void RunningStatistics::spread_averaged() {
  if (floats_ == 0 || frozen_) return;
  for (int g = first_local(); g <= last_local(); ++g)
    std::copy_n(memory_.averaged.host<float>().begin(), floats_, local_set(g));
  push();
}

}  // namespace syncnorm
