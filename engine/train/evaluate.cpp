// Each rank evaluates a contiguous block of chunks. One gather collects the sums of all chunks,
// which are added in order.
#include "engine/train/evaluate.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "comm/agreement.h"
#include "engine/program/compile.h"
#include "engine/state/running.h"

namespace syncnorm {
namespace {

constexpr std::size_t kValues = 2;  // Σ loss and number of correct samples per chunk

/// Statistics are summed over this many segments of the chunks, and these in tree order; a fixed
/// number, so that the bits do not depend on ranks.
constexpr int kSegments = 64;

/// Returns the part of `count` things that part `index` of `parts` takes.
Interval part_of(int count, int index, int parts) {
  const auto first = [&](int i) { return static_cast<int>(std::int64_t{count} * i / parts); };
  return {first(index), first(index + 1)};
}

/// The sums of all norms: count, Σx, Σx² of each.
/// The norms whose statistics the program computes; those of the others are constants.
std::vector<RunningSlot> computed(const Program& program) {
  std::vector<RunningSlot> slots;
  for (const RunningSlot& slot : program.running)
    if (slot.totals >= 0) slots.push_back(slot);
  return slots;
}

std::size_t totals_of(const RunningSlot& slot) {
  return 2 * static_cast<std::size_t>(slot.channels) + 1;
}

std::unique_ptr<Reduction<double>> make_reduction(const Program& program, Communicator& comm) {
  std::size_t count = 0;
  for (const RunningSlot& slot : computed(program)) count += totals_of(slot);
  std::vector<Interval> blocks;
  for (int r = 0; r < comm.size(); ++r) blocks.push_back(part_of(kSegments, r, comm.size()));
  return std::make_unique<Reduction<double>>(comm, blocks, count, ReductionAlgorithm::tree,
                                             "statistics of an evaluation");
}

}  // namespace

Evaluator::Evaluator(const Graph& graph, const Experiment& experiment,
                     std::span<const std::size_t> layout, const Dataset& dataset, Device& device,
                     Communicator& comm, Memory& memory, const EvaluatorOptions& options)
    : options_(options),
      comm_(comm),
      memory_(memory),
      self_(make_self_communicator()),
      normalization_(dataset.mean, dataset.stddev) {
  const auto add = [&](int samples) {
    add_executor(graph, experiment, layout, device, memory, samples);
  };
  if (!by_batch()) add(options_.chunk);
  for (const std::size_t length : options_.lengths) {
    const EvalChunks chunks{static_cast<int>(length), options_.chunk, true};
    for (const int chunk : {0, chunks.count() - 1}) add(chunks.positions(chunk).size());
  }
  images_ =
      device.allocate_pinned(sizeof(float) * dataset.train.image_size() *
                             static_cast<std::size_t>(slots_) * EvalFeed::buffers(dataset.train));
}

void Evaluator::add_executor(const Graph& graph, const Experiment& experiment,
                             std::span<const std::size_t> layout, Device& device, Memory& memory,
                             int samples) {
  Sized& sized = executors_[samples];
  if (sized.executor != nullptr) return;
  const bool one_each = options_.mode == ProgramMode::mixed_evaluation;
  ProgramOptions options;
  options.mode = options_.mode;
  options.replicas = one_each ? samples : 1;
  options.batch_per_replica = one_each ? 1 : samples;
  options.storage = activation_storage(experiment.precision);
  sized.executor = std::make_unique<Executor>(compile_program(graph, device, options, layout),
                                              device, *self_, Placement{options.replicas, 1},
                                              nullptr, ReductionAlgorithm::tree, memory);
  slots_ = std::max(slots_, samples);
}

template <class Before, class After>
void Evaluator::run_chunks(Interval own, const ImageSet& images,
                           std::span<const std::uint32_t> samples,
                           std::vector<CorruptImage>& corrupt, const Before& before,
                           const After& after) {
  const EvalChunks chunks = chunks_of(samples);
  std::vector<EvalFeed::Samples> parts;
  for (int c = own.begin; c < own.end; ++c) {
    const Interval p = chunks.positions(c);
    parts.push_back(
        samples.subspan(static_cast<std::size_t>(p.begin), static_cast<std::size_t>(p.size())));
  }
  EvalFeed feed(images, normalization_, parts, samples, slots_, images_.as<float>().data());
  const Executor* last = nullptr;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EvalBatch& batch = feed.next();
    const CorruptFindings& found = batch.found;
    if (!found.usable) throw InputError(stop_text(found.corrupt));
    corrupt.insert(corrupt.end(), found.corrupt.begin(), found.corrupt.end());
    std::fill(batch.labels.begin() + static_cast<std::ptrdiff_t>(parts[i].size()),
              batch.labels.end(), -1);  // padding
    Executor& executor = executor_for(parts[i].size());
    before(static_cast<int>(i) + own.begin, executor);
    executor.run(state_, {batch.images, batch.labels.data(), nullptr}, &executor != last);
    after(static_cast<int>(i) + own.begin, executor);
    last = &executor;
  }
}

std::vector<double> Evaluator::sums_of(Interval own, const ImageSet& images,
                                       std::span<const std::uint32_t> samples,
                                       std::vector<CorruptImage>& corrupt) {
  std::vector<double> sums;
  run_chunks(
      own, images, samples, corrupt, [](int, Executor&) {},
      [&](int, Executor& executor) {
        sums.resize(sums.size() + kValues);
        for (int r = 0; r < executor.replicas().count; ++r) {
          const std::vector<double> loss =
              executor.tensors().doubles(executor.program().loss_tensor, r);
          for (std::size_t i = 0; i < kValues; ++i) *(sums.end() - kValues + i) += loss[i];
        }
      });
  return sums;
}

template <class Compute>
void Evaluator::on_all_ranks(const ImageSet& images, const Compute& compute) {
  if (images.stored == nullptr)
    compute();
  else
    agree(comm_, compute);
}

void Evaluator::set_recorder(FlightRecorder* recorder) {
  recorder_ = recorder;
  for (auto& [samples, sized] : executors_) {
    if (sized.flight != nullptr) sized.executor->remove_hook(*sized.flight);
    sized.flight =
        recorder != nullptr ? std::make_unique<FlightHook>(*recorder, *sized.executor) : nullptr;
    if (sized.flight != nullptr) sized.executor->add_hook(*sized.flight);
  }
}

void Evaluator::record(const char* what, std::int64_t step) const {
  if (recorder_ != nullptr) recorder_->record(FlightKind::mark, recorder_->name(what), step);
}

EvaluationResult Evaluator::run(const ImageSet& images, std::span<const std::uint32_t> samples,
                                std::int64_t step) {
  const int count = chunks_of(samples).count();
  const auto chunks_of_rank = [&](int rank) { return part_of(count, rank, comm_.size()); };
  EvaluationResult result;
  std::vector<double> sums;
  on_all_ranks(images, [&] {
    sums = sums_of(chunks_of_rank(comm_.rank()), images, samples, result.corrupt);
  });
  std::vector<double> all(static_cast<std::size_t>(count) * kValues);
  std::vector<int> counts;
  for (int r = 0; r < comm_.size(); ++r)
    counts.push_back(chunks_of_rank(r).size() * static_cast<int>(kValues));
  record("reduction of the evaluation's sums", step);
  const auto request = comm_.make_request();
  comm_.start_all_gather<double>(*request, sums, all, counts);
  comm_.wait(*request, "evaluation sums");
  for (std::size_t i = 0; i < all.size(); i += kValues) {
    result.loss += all[i];
    result.accuracy += all[i + 1];
  }
  result.loss /= static_cast<double>(samples.size());
  result.accuracy /= static_cast<double>(samples.size());
  return result;
}

std::vector<float> Evaluator::statistics_of(const ImageSet& images,
                                            std::span<const std::uint32_t> samples,
                                            std::vector<CorruptImage>& corrupt, std::int64_t step) {
  if (statistics_ == nullptr) statistics_ = make_reduction(program(), comm_);
  const EvalChunks chunks = chunks_of(samples);
  const Interval own = part_of(kSegments, comm_.rank(), comm_.size());
  std::vector<std::vector<double>> segments(static_cast<std::size_t>(own.size()),
                                            std::vector<double>(statistics_->count()));
  const auto segment_of = [&](int chunk) {
    int segment = own.begin;
    while (part_of(chunks.count(), segment, kSegments).end <= chunk) ++segment;
    return static_cast<std::size_t>(segment - own.begin);
  };
  const Interval own_chunks{part_of(chunks.count(), own.begin, kSegments).begin,
                            part_of(chunks.count(), own.end, kSegments).begin};
  // Executors share the arena, so the totals of a chunk are taken at once.
  const auto clear = [&](int, Executor& executor) {
    for (const RunningSlot& slot : computed(executor.program()))
      executor.tensors().zero(slot.totals, 0);
  };
  const auto take = [&](int chunk, Executor& executor) {
    double* to = segments[segment_of(chunk)].data();
    for (const RunningSlot& slot : computed(executor.program()))
      for (const double total : executor.tensors().doubles(slot.totals, 0)) *to++ += total;
  };
  on_all_ranks(images, [&] { run_chunks(own_chunks, images, samples, corrupt, clear, take); });
  std::vector<double*> leaves;
  for (std::vector<double>& segment : segments) leaves.push_back(segment.data());
  std::vector<double> totals(statistics_->count());
  record("reduction of the evaluation's statistics", step);
  statistics_->start_leaves(leaves, totals.data());
  statistics_->wait();
  const auto averaged = memory_.averaged.host<float>();
  std::vector<float> set(averaged.begin(),
                         averaged.begin() + static_cast<long>(program().running_floats));
  const double* from = totals.data();
  for (const RunningSlot& slot : computed(program())) {
    pair_from_totals(slot, {from, totals_of(slot)}, set.data());
    from += totals_of(slot);
  }
  return set;
}

}  // namespace syncnorm
