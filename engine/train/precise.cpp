// See precise.h.
#include "engine/train/precise.h"

#include <algorithm>

#include "engine/program/compile.h"

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
      batching_{experiment.replicas, experiment.batch_per_replica, true,
                static_cast<std::int64_t>(samples.size())},
      replicas_(placement.block(comm.rank())),
      group_size_(experiment.norm.synced_replicas),
      samples_(samples),
      order_(epoch_order(samples, experiment.seed, 0, experiment.data.shuffle)),
      device_(device),
      running_(running) {
  const std::int64_t global = batching_.global_batch();
  batches_ = std::min((experiment.norm.precise_samples + global - 1) / global,
                      batching_.steps_per_epoch());
  executor_ = std::make_unique<Executor>(
      compile_program(graph, device, statistics_options(std::move(options)), layout), device, comm,
      placement, groups, algorithm, memory);
  const std::size_t local = static_cast<std::size_t>(replicas_.size()) *
                            static_cast<std::size_t>(batching_.batch_per_replica);
  images_ = device.allocate_pinned(sizeof(float) * dataset.train.evaluation_size() * local *
                                   EvalFeed::buffers(dataset.train));
}

void PreciseStatistics::run(std::int64_t step) {
  found_ = {};
  for (const RunningSlot& slot : executor_->program().running)
    for (int r = 0; slot.totals >= 0 && r < replicas_.size(); ++r)
      executor_->tensors().zero(slot.totals, r);
  StepState state;
  state.seed = seed_;
  state.step = static_cast<std::uint64_t>(step);
  state.update_running = false;
  const std::vector<EvalFeed::Samples> batches = own_batches();
  EvalFeed feed(dataset_.train, normalization_, batches, samples_,
                static_cast<int>(batches.front().size()), images_.as<float>().data(),
                EvalFeed::View::training);
  for (const EvalFeed::Samples& ids : batches) {
    const EvalBatch& batch = feed.next();
    found_.add(batch.found);
    executor_->run(state, {batch.images, batch.labels.data(), ids.data()}, &ids == &batches[0]);
    device_.synchronize();  // a later batch overwrites this one
  }
  take_pairs();
}

/// Returns this rank's part of each batch; its replicas' samples are contiguous.
std::vector<EvalFeed::Samples> PreciseStatistics::own_batches() const {
  std::vector<EvalFeed::Samples> batches;
  for (std::int64_t batch = 0; batch < batches_; ++batch) {
    const int begin = batching_.positions(batch, replicas_.begin).begin;
    const int end = batching_.positions(batch, replicas_.end - 1).end;
    batches.emplace_back(order_.data() + begin, static_cast<std::size_t>(end - begin));
  }
  return batches;
}

void PreciseStatistics::take_pairs() {
  for (int g = running_.first_local(); g <= running_.last_local(); ++g) {
    const int replica = std::max(g * group_size_, replicas_.begin) - replicas_.begin;
    float* set = running_.local_set(g);
    for (const RunningSlot& slot : executor_->program().running)
      if (slot.totals >= 0)  // else its statistics are constants
        pair_from_totals(slot, executor_->tensors().doubles(slot.totals, replica), set);
  }
  running_.push();
}

}  // namespace syncnorm
