// See evaluation.h.
#include "engine/train/evaluation.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "base/clock.h"

namespace syncnorm {
namespace {

void append(std::vector<CorruptImage>& to, const std::vector<CorruptImage>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

}  // namespace

std::vector<ClassResult> class_results(const ClassCounts& counts,
                                       const std::vector<std::string>& names) {
  std::vector<ClassResult> results;
  for (int k = 0; k < counts.classes(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    results.push_back({i < names.size() ? names[i] : std::to_string(k), counts.accuracy(k),
                       counts.iou(k), counts.labelled[i]});
  }
  return results;
}

Evaluation::Evaluation(const Graph& graph, const Experiment& experiment,
                       std::span<const std::size_t> layout, const Dataset& dataset,
                       const Splits& splits, Device& device, Communicator& comm, Memory& memory)
    : experiment_(experiment),
      dataset_(dataset),
      memory_(memory),
      validation_{"validation", &dataset.train, splits.validation},
      test_{"test", &dataset.test, std::vector<std::uint32_t>(dataset.test.size())} {
  std::iota(test_.samples.begin(), test_.samples.end(), 0u);
  const auto make = [&](const EvaluatorOptions& options) {
    return std::make_unique<Evaluator>(graph, experiment, layout, dataset, device, comm, memory,
                                       options);
  };
  const int chunk = evaluation_chunk(experiment, dataset.test);
  averaged_ = make({ProgramMode::evaluation, chunk, {}});
  const EvaluationConfig& config = experiment.evaluation;
  if (config.has(EvaluationStatistics::mixed))
    mixed_ = make({ProgramMode::mixed_evaluation, chunk, {}});
  EvaluatorOptions by_batch{ProgramMode::batch_evaluation, experiment.evaluation_batch(), {}};
  if (config.has(EvaluationStatistics::batch) || config.has(EvaluationStatistics::test_set)) {
    for (std::size_t i = 0; i < 2; ++i) {
      by_batch_[i] = i == 0 ? validation_ : test_;
      by_batch_[i].samples = shuffled(by_batch_[i].samples);
      if (!by_batch_[i].samples.empty()) by_batch.lengths.push_back(by_batch_[i].samples.size());
    }
  }
  const bool precise_average =
      experiment.ema.decay > 0.0 && experiment.ema.statistics == AverageStatistics::precise;
  if (config.has(EvaluationStatistics::precise) || precise_average) {
    const int wanted = experiment.norm.precise_samples > 0 ? experiment.norm.precise_samples
                                                           : config.precise_samples;
    training_samples_ = shuffled(splits.train);
    training_samples_.resize(std::min(training_samples_.size(), static_cast<std::size_t>(wanted)));
    by_batch.lengths.push_back(training_samples_.size());
  }
  if (!by_batch.lengths.empty()) batch_ = make(by_batch);
}

/// Returns `samples` in the order of the first epoch, so that a batch holds images of all classes.
std::vector<std::uint32_t> Evaluation::shuffled(const std::vector<std::uint32_t>& samples) const {
  return epoch_order(samples, experiment_.seed, 0, experiment_.data.shuffle);
}

void Evaluation::set_recorder(FlightRecorder* recorder) {
  for (Evaluator* evaluator : {averaged_.get(), batch_.get(), mixed_.get()})
    if (evaluator != nullptr) evaluator->set_recorder(recorder);
}

EvaluationResult Evaluation::run_with(const std::vector<float>& set, const EvaluationSplit& split,
                                      std::int64_t step) {
  const auto averaged = memory_.averaged.host<float>().first(set.size());
  const std::vector<float> kept(averaged.begin(), averaged.end());
  std::copy(set.begin(), set.end(), averaged.begin());
  memory_.averaged.push();
  EvaluationResult result = averaged_->run(*split.images, split.samples, step);
  std::copy(kept.begin(), kept.end(), averaged.begin());
  memory_.averaged.push();
  return result;
}

/// Returns the weight with the best score on the validation samples, then with the least loss, then
/// the first one.
double Evaluation::choose_weight(std::vector<CorruptImage>& corrupt, std::int64_t step) {
  const std::vector<double>& weights = experiment_.evaluation.mixed_weights;
  double best = weights[0];
  if (weights.size() == 1) return best;
  std::tuple<double, double> best_result(-1.0, 0.0);
  for (const double weight : weights) {
    mixed_->set_sample_weight(weight);
    const EvaluationResult result = mixed_->run(*validation_.images, validation_.samples, step);
    append(corrupt, result.corrupt);
    const std::tuple found(result.score(), -result.loss);
    if (found <= best_result) continue;
    best_result = found;
    best = weight;
  }
  return best;
}

std::vector<ExampleImage> Evaluation::examples() {
  constexpr std::size_t kExamples = 8;
  const std::size_t all = test_.samples.size(), count = std::min(kExamples, all);
  std::vector<std::uint32_t> samples;
  for (std::size_t i = 0; i < count; ++i) samples.push_back(test_.samples[i * all / count]);
  return averaged_->examples(*test_.images, samples);
}

void Evaluation::run(std::int64_t step, bool validation, const Tell& tell) {
  for (const EvaluationStatistics statistics : experiment_.evaluation.statistics)
    run_kind(statistics, false, step, validation, tell);
}

void Evaluation::run_average(std::int64_t step, bool validation, const Tell& tell) {
  const bool precise = experiment_.ema.statistics == AverageStatistics::precise;
  run_kind(precise ? EvaluationStatistics::precise : EvaluationStatistics::running, true, step,
           validation, tell);
}

void Evaluation::run_kind(EvaluationStatistics statistics, bool of_average, std::int64_t step,
                          bool validation, const Tell& tell) {
  std::vector<const EvaluationSplit*> splits = {&test_};
  if (validation && !validation_.samples.empty()) splits.insert(splits.begin(), &validation_);
  auto begin = Clock::now();
  EvaluationColumn column;
  column.statistics = statistics;
  column.of_average = of_average;
  std::vector<CorruptImage> corrupt;  // those met before the evaluation itself
  std::vector<float> precise;
  if (statistics == EvaluationStatistics::precise)
    precise = batch_->statistics_of(dataset_.train, training_samples_, corrupt, step);
  if (statistics == EvaluationStatistics::mixed) {
    column.sample_weight = choose_weight(corrupt, step);
    mixed_->set_sample_weight(column.sample_weight);
  }
  for (const EvaluationSplit* split : splits) {
    const EvaluationSplit& shuffled_split = by_batch_[split == &validation_ ? 0 : 1];
    switch (statistics) {
      case EvaluationStatistics::running:
        column.result = averaged_->run(*split->images, split->samples, step);
        break;
      case EvaluationStatistics::precise:
        column.result = run_with(precise, *split, step);
        break;
      case EvaluationStatistics::batch:
        column.result = batch_->run(*split->images, shuffled_split.samples, step);
        break;
      case EvaluationStatistics::test_set:
        column.result =
            run_with(batch_->statistics_of(*split->images, shuffled_split.samples, corrupt, step),
                     *split, step);
        break;
      case EvaluationStatistics::mixed:
        column.result = mixed_->run(*split->images, split->samples, step);
        break;
    }
    append(column.result.corrupt, corrupt);
    corrupt.clear();
    column.split = split;
    column.seconds = seconds_since(begin);
    tell(column);
    begin = Clock::now();
  }
}

}  // namespace syncnorm
