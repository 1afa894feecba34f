// See precise.h.
#include "engine/train/precise.h"

#include <algorithm>

#include "engine/program/compile.h"
#include "kernels/norm_math.h"

namespace syncnorm {
namespace {

ProgramOptions statistics_options(ProgramOptions options) {
  options.mode = ProgramMode::statistics;
  return options;
}

}  // namespace

PreciseStatistics::PreciseStatistics(const Graph& graph, ProgramOptions options,
                                     std::span<const std::size_t> layout, const Dataset& dataset,
                                     const std::vector<std::uint32_t>& samples,
                                     const Experiment& experiment, Device& device,
                                     Communicator& comm, const Placement& placement,
                                     const StatisticsGroups* groups, ReductionAlgorithm algorithm,
                                     Memory& memory, RunningStatistics& running)
    : dataset_(dataset),
      normalization_(dataset.mean, dataset.stddev),
      seed_(experiment.seed),
      plan_{experiment.replicas, experiment.batch_per_replica, true,
            static_cast<std::int64_t>(samples.size())},
      replicas_(placement.block(comm.rank())),
      group_size_(experiment.norm.synced_replicas),
      samples_(samples),
      order_(epoch_order(samples, experiment.seed, 0, experiment.data.shuffle)),
      device_(device),
      running_(running) {
  const std::int64_t global = plan_.global_batch();
  batches_ =
      std::min((experiment.norm.precise_samples + global - 1) / global, plan_.steps_per_epoch());
  executor_ = std::make_unique<Executor>(
      compile_program(graph, device, statistics_options(std::move(options)), layout), device, comm,
      placement, groups, algorithm, memory);
  const std::size_t local = static_cast<std::size_t>(replicas_.size()) *
                            static_cast<std::size_t>(plan_.batch_per_replica);
  images_ = device.allocate_pinned(sizeof(float) * dataset.train.image_size() * local);
  labels_.resize(local);
  ids_.resize(local);
}

void PreciseStatistics::run(std::int64_t step) {
  filled_ = {};
  for (const RunningSlot& slot : executor_->program().running)
    for (int r = 0; r < replicas_.size(); ++r) executor_->zero(slot.totals, r);
  StepState state;
  state.seed = seed_;
  state.step = static_cast<std::uint64_t>(step);
  state.update_running = false;
  for (std::int64_t batch = 0; batch < batches_; ++batch) {
    fill(batch);
    executor_->run(state, {images_.as<float>().data(), labels_.data(), ids_.data()}, batch == 0);
    device_.synchronize();  // the next batch takes this one's place
  }
  take_pairs();
}

void PreciseStatistics::fill(std::int64_t batch) {
  const auto per_replica = static_cast<std::size_t>(plan_.batch_per_replica);
  for (int r = replicas_.begin; r < replicas_.end; ++r) {
    const Interval p = plan_.positions(batch, r);
    const std::size_t at = static_cast<std::size_t>(r - replicas_.begin) * per_replica;
    const std::span<const std::uint32_t> samples(order_.data() + p.begin, per_replica);
    std::copy(samples.begin(), samples.end(), ids_.begin() + static_cast<long>(at));
    const FilledChunk filled = fill_eval_chunk(
        dataset_.train, normalization_, samples, samples_, plan_.batch_per_replica,
        images_.as<float>().data() + at * dataset_.train.image_size(), labels_.data() + at);
    filled_.corrupt.insert(filled_.corrupt.end(), filled.corrupt.begin(), filled.corrupt.end());
    filled_.usable = filled_.usable && filled.usable;
  }
}

void PreciseStatistics::take_pairs() {
  for (int g = running_.first_local(); g <= running_.last_local(); ++g) {
    const int replica = std::max(g * group_size_, replicas_.begin) - replicas_.begin;
    float* set = running_.local_set(g);
    for (const RunningSlot& slot : executor_->program().running) {
      const std::vector<double> totals = executor_->doubles(slot.totals, replica);
      const double n = totals[0];
      const auto channels = static_cast<std::size_t>(slot.channels);
      for (std::size_t c = 0; c < channels; ++c) {
        const MeanVariance m = from_sums(n, totals[1 + c], totals[1 + channels + c]);
        set[slot.mean + c] = static_cast<float>(m.mean);
        set[slot.variance + c] = static_cast<float>(n > 1.0 ? m.variance * (n / (n - 1.0)) : 0.0);
      }
    }
  }
  running_.push();
}

}  // namespace syncnorm
