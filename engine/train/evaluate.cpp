// Each rank evaluates a contiguous block of chunks. One gather collects the sums of all chunks,
// which are added in order.
#include "engine/train/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "comm/agreement.h"
#include "engine/program/compile.h"
#include "engine/state/running.h"
#include "kernels/segmentation_math.h"

namespace syncnorm {
namespace {

constexpr std::size_t kValues = 4;  // per chunk: Σ loss, correct, counted, Σ weight

/// Statistics are summed over this many segments of the chunks, and these in tree order; a fixed
/// number, so that the bits do not depend on ranks.
constexpr int kSegments = 64;

/// Returns the part of `count` things that part `index` of `parts` takes.
Interval part_of(int count, int index, int parts) {
  const auto first = [&](int i) { return static_cast<int>(std::int64_t{count} * i / parts); };
  return {first(index), first(index + 1)};
}

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

int evaluation_chunk(const Experiment& experiment, const ImageSet& images) {
  if (!images.per_pixel) return kEvaluationChunk;
  const std::size_t pixels = static_cast<std::size_t>(experiment.batch_per_replica) *
                             static_cast<std::size_t>(images.height) *
                             static_cast<std::size_t>(images.width);
  return static_cast<int>(std::clamp<std::size_t>(pixels / images.evaluation_pixels(), 1,
                                                  static_cast<std::size_t>(kEvaluationChunk)));
}

Evaluator::Evaluator(const Graph& graph, const Experiment& experiment,
                     std::span<const std::size_t> layout, const Dataset& dataset, Device& device,
                     Communicator& comm, Memory& memory, const EvaluatorOptions& options)
    : options_(options),
      loss_(experiment.loss),
      per_pixel_(dataset.train.per_pixel),
      comm_(comm),
      memory_(memory),
      self_(make_self_communicator()),
      normalization_(dataset.mean, dataset.stddev),
      mean_(dataset.mean),
      stddev_(dataset.stddev) {
  const auto add = [&](int samples) {
    add_executor(graph, experiment, layout, device, memory, samples);
  };
  if (!by_batch()) add(options_.chunk);
  for (const std::size_t length : options_.lengths) {
    const EvalChunks chunks{static_cast<int>(length), options_.chunk, true};
    for (const int chunk : {0, chunks.count() - 1}) add(chunks.positions(chunk).size());
  }
  images_ =
      device.allocate_pinned(sizeof(float) * dataset.train.evaluation_size() *
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
  options.loss = experiment.loss;
  options.loss.label_smoothing = 0.0;
  options.per_pixel = per_pixel_;
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
    executor.run(state_,
                 {batch.images, batch.labels.data(), nullptr, nullptr, nullptr, batch.masks},
                 &executor != last);
    after(static_cast<int>(i) + own.begin, executor, batch);
    last = &executor;
  }
}

std::vector<std::int32_t> Evaluator::predictions_of(const Executor& executor) const {
  std::vector<std::int32_t> all;
  for (int r = 0; r < executor.replicas().count; ++r) {
    const std::vector<std::byte> bytes =
        executor.tensors().bytes(executor.program().predictions_tensor, r);
    const std::size_t before = all.size();
    all.resize(before + bytes.size() / sizeof(std::int32_t));
    std::memcpy(all.data() + before, bytes.data(), bytes.size());
  }
  return all;
}

void Evaluator::count_classes(const Executor& executor, const ImageSet& images,
                              const EvalBatch& batch, std::size_t samples,
                              ClassCounts& classes) const {
  const std::vector<std::int32_t> predictions = predictions_of(executor);
  if (!images.per_pixel) {
    for (std::size_t s = 0; s < samples; ++s) classes.add(batch.labels[s], predictions[s]);
    return;
  }
  for (std::size_t i = 0; i < samples * images.evaluation_pixels(); ++i)
    if (batch.masks[i] < classes.classes()) classes.add(batch.masks[i], predictions[i]);
}

/// Returns the numbers per chunk: those of the loss, and the sums of the Dice loss.
std::size_t Evaluator::values_per_chunk() const {
  const int dice = program().dice_tensor;
  if (dice < 0) return kValues;
  return kValues + program().tensors[static_cast<std::size_t>(dice)].bytes / sizeof(double);
}

std::vector<double> Evaluator::sums_of(Interval own, const ImageSet& images,
                                       std::span<const std::uint32_t> samples, ClassCounts& classes,
                                       std::vector<CorruptImage>& corrupt) {
  std::vector<double> sums;
  const EvalChunks chunks = chunks_of(samples);
  run_chunks(
      own, images, samples, corrupt, [](int, Executor&) {},
      [&](int chunk, Executor& executor, const EvalBatch& batch) {
        const std::size_t at = sums.size();
        sums.resize(at + values_per_chunk());
        for (int r = 0; r < executor.replicas().count; ++r) {
          const auto values = [&](int tensor) { return executor.tensors().doubles(tensor, r); };
          const std::vector<double> loss = values(executor.program().loss_tensor);
          const double own_values[] = {loss[0], loss[1], loss[3], loss[4]};
          for (std::size_t i = 0; i < kValues; ++i) sums[at + i] += own_values[i];
          if (executor.program().dice_tensor < 0) continue;
          const std::vector<double> dice = values(executor.program().dice_tensor);
          for (std::size_t i = 0; i < dice.size(); ++i) sums[at + kValues + i] += dice[i];
        }
        count_classes(executor, images, batch,
                      static_cast<std::size_t>(chunks.positions(chunk).size()), classes);
      });
  return sums;
}

/// Returns the weighted Dice loss over all samples, from the sums of all chunks.
double Evaluator::dice_loss_of(std::span<const double> sums, const ClassCounts& classes) const {
  const auto count = static_cast<std::size_t>(classes.classes());
  double loss = 0.0;
  for (std::size_t k = 0; k < count; ++k)
    loss += dice_loss(sums[k], sums[count + k], static_cast<double>(classes.labelled[k]));
  return loss_.dice * loss / static_cast<double>(count);
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
  ClassCounts classes(images.classes);
  std::vector<double> sums;
  on_all_ranks(images, [&] {
    sums = sums_of(chunks_of_rank(comm_.rank()), images, samples, classes, result.corrupt);
  });
  // A rank sends the sums of its chunks, and behind them its counts of classes.
  const std::vector<double> own_counts = classes.values();
  sums.insert(sums.end(), own_counts.begin(), own_counts.end());
  const std::size_t width = values_per_chunk();
  std::vector<int> lengths;
  for (int r = 0; r < comm_.size(); ++r)
    lengths.push_back(chunks_of_rank(r).size() * static_cast<int>(width) +
                      static_cast<int>(own_counts.size()));
  std::vector<double> all(
      static_cast<std::size_t>(std::accumulate(lengths.begin(), lengths.end(), 0)));
  record("reduction of the evaluation's sums", step);
  const auto request = comm_.make_request();
  comm_.start_all_gather<double>(*request, sums, all, lengths);
  comm_.wait(*request, "evaluation sums");
  std::vector<double> total(width), of_classes(own_counts.size());
  const double* from = all.data();
  for (int r = 0; r < comm_.size(); ++r) {
    const std::size_t own = static_cast<std::size_t>(chunks_of_rank(r).size()) * width;
    for (std::size_t i = 0; i < own; ++i) total[i % width] += *from++;
    for (double& value : of_classes) value += *from++;
  }
  result.classes = ClassCounts::from_values(of_classes);
  result.per_pixel = images.per_pixel;
  result.loss = total[3] > 0.0 ? total[0] / total[3] : total[0];
  result.accuracy = total[2] > 0.0 ? total[1] / total[2] : 0.0;
  if (width > kValues)
    result.loss += dice_loss_of(std::span(total).subspan(kValues), result.classes);
  return result;
}

std::vector<ExampleImage> Evaluator::examples(const ImageSet& images,
                                              std::span<const std::uint32_t> samples) {
  std::vector<ExampleImage> all;
  std::vector<CorruptImage> corrupt;
  const std::size_t pixels = images.evaluation_pixels();
  const auto channels = static_cast<std::size_t>(images.channels);
  const EvalChunks chunks = chunks_of(samples);
  const auto byte_of = [&](float value, std::size_t c) {
    const double stddev = stddev_[c] > 0.0f ? static_cast<double>(stddev_[c]) : 1.0;
    return static_cast<std::uint8_t>(
        std::clamp(std::round(255.0 * (value * stddev + mean_[c])), 0.0, 255.0));
  };
  const auto take = [&](int chunk, Executor& executor, const EvalBatch& batch) {
    const std::vector<std::int32_t> predictions = predictions_of(executor);
    const Interval positions = chunks.positions(chunk);
    for (int p = positions.begin; p < positions.end; ++p) {
      const std::size_t first = static_cast<std::size_t>(p - positions.begin) * pixels;
      ExampleImage example{samples[static_cast<std::size_t>(p)],
                           images.evaluation_height(),
                           images.evaluation_width(),
                           {},
                           {batch.masks + first, batch.masks + first + pixels},
                           {predictions.begin() + static_cast<std::ptrdiff_t>(first),
                            predictions.begin() + static_cast<std::ptrdiff_t>(first + pixels)}};
      for (std::size_t i = 0; i < pixels; ++i)
        for (std::size_t c = 0; c < 3; ++c) {
          const std::size_t channel = channels >= 3 ? c : 0;
          example.rgb.push_back(byte_of(batch.images[(first + i) * channels + channel], channel));
        }
      all.push_back(std::move(example));
    }
  };
  try {
    run_chunks(
        {0, chunks.count()}, images, samples, corrupt, [](int, Executor&) {}, take);
  } catch (const InputError&) {
    // An image that cannot be read; the evaluation before has told of it.
  }
  return all;
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
  const auto take = [&](int chunk, Executor& executor, const EvalBatch&) {
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
