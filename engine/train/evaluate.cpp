// Each rank evaluates a contiguous block of chunks. One gather collects the sums of all chunks,
// which are added in order.
#include "engine/train/evaluate.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "comm/agreement.h"
#include "engine/program/compile.h"

namespace syncnorm {
namespace {

constexpr std::size_t kValues = 2;  // Σ loss and number of correct samples per chunk

}  // namespace

Evaluator::Evaluator(const Graph& graph, const Experiment& experiment,
                     std::span<const std::size_t> layout, const Dataset& dataset, Device& device,
                     Communicator& comm, Memory& memory)
    : comm_(comm), self_(make_self_communicator()), normalization_(dataset.mean, dataset.stddev) {
  ProgramOptions options;
  options.mode = ProgramMode::evaluation;
  options.batch_per_replica = kEvaluationChunk;
  options.storage = activation_storage(experiment.precision);
  executor_ =
      std::make_unique<Executor>(compile_program(graph, device, options, layout), device, *self_,
                                 Placement{1, 1}, nullptr, ReductionAlgorithm::tree, memory);
  images_ = device.allocate_pinned(sizeof(float) * dataset.train.image_size() * kEvaluationChunk *
                                   EvalFeed::buffers(dataset.train));
}

std::vector<double> Evaluator::sums_of(Interval own, const EvalChunks& chunks,
                                       const ImageSet& images,
                                       std::span<const std::uint32_t> samples,
                                       std::vector<CorruptImage>& corrupt) {
  std::vector<EvalFeed::Samples> parts;
  for (int c = own.begin; c < own.end; ++c) {
    const Interval p = chunks.positions(c);
    parts.push_back(
        samples.subspan(static_cast<std::size_t>(p.begin), static_cast<std::size_t>(p.size())));
  }
  EvalFeed feed(images, normalization_, parts, samples, kEvaluationChunk,
                images_.as<float>().data());
  std::vector<double> sums;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EvalBatch& batch = feed.next();
    const CorruptFindings& found = batch.found;
    if (!found.usable) throw InputError(stop_text(found.corrupt));
    corrupt.insert(corrupt.end(), found.corrupt.begin(), found.corrupt.end());
    std::fill(batch.labels.begin() + static_cast<std::ptrdiff_t>(parts[i].size()),
              batch.labels.end(), -1);  // padding
    executor_->run({}, {batch.images, batch.labels.data(), nullptr}, i == 0);
    const auto loss = executor_->loss();
    sums.insert(sums.end(), loss.begin(), loss.begin() + kValues);
  }
  return sums;
}

void Evaluator::set_recorder(FlightRecorder* recorder) {
  recorder_ = recorder;
  if (flight_ != nullptr) executor_->remove_hook(*flight_);
  flight_ = recorder != nullptr ? std::make_unique<FlightHook>(*recorder, *executor_) : nullptr;
  if (flight_ != nullptr) executor_->add_hook(*flight_);
}

EvaluationResult Evaluator::run(const ImageSet& images, std::span<const std::uint32_t> samples,
                                std::int64_t step) {
  const EvalChunks chunks{static_cast<int>(samples.size()), kEvaluationChunk};
  const auto first_chunk = [&](int rank) {
    return static_cast<int>(std::int64_t{chunks.count()} * rank / comm_.size());
  };
  const Interval own{first_chunk(comm_.rank()), first_chunk(comm_.rank() + 1)};
  EvaluationResult result;
  std::vector<double> sums;
  const auto compute = [&] { sums = sums_of(own, chunks, images, samples, result.corrupt); };
  if (images.stored == nullptr)
    compute();
  else
    agree(comm_, compute);
  std::vector<double> all(static_cast<std::size_t>(chunks.count()) * kValues);
  std::vector<int> counts;
  for (int r = 0; r < comm_.size(); ++r)
    counts.push_back((first_chunk(r + 1) - first_chunk(r)) * static_cast<int>(kValues));
  if (recorder_ != nullptr)
    recorder_->record(FlightKind::mark, recorder_->name("reduction of the evaluation's sums"),
                      step);
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

}  // namespace syncnorm
