// An evaluation with each of the statistics that evaluation.statistics lists
// (docs/normalization.md, "Which statistics at evaluation").
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/config/experiment.h"
#include "engine/data/sampler.h"
#include "engine/train/evaluate.h"
#include "engine/train/observer.h"

namespace syncnorm {

/// A list of samples that is evaluated.
struct EvaluationSplit {
  std::string name;  // "validation" or "test"
  const ImageSet* images = nullptr;
  std::vector<std::uint32_t> samples;  // indices into `images`
};

/// The result of one split with one kind of statistics.
struct EvaluationColumn {
  EvaluationStatistics statistics = EvaluationStatistics::running;
  bool of_average = false;  // of the averaged weights
  const EvaluationSplit* split = nullptr;
  EvaluationResult result;
  double sample_weight = -1.0;  // mixed: the chosen weight of the sample's own statistics
  double seconds = 0.0;
};

/// Returns a result per class; `names` may be empty.
std::vector<ClassResult> class_results(const ClassCounts& counts,
                                       const std::vector<std::string>& names);

class Evaluation {
 public:
  /// `layout` is as for Evaluator. All references must outlive this. Throws
  /// InputError when a batch of evaluation.batch images cannot be normalized.
  Evaluation(const Graph& graph, const Experiment& experiment, std::span<const std::size_t> layout,
             const Dataset& dataset, const Splits& splits, Device& device, Communicator& comm,
             Memory& memory);

  using Tell = std::function<void(const EvaluationColumn&)>;
  /// Evaluates with memory.parameters and the running statistics in memory.averaged, which are left
  /// as they are: for each kind of statistics, the validation split if `validation` and if there is
  /// one, then the test split. Passes each result to `tell`. Collective. Throws InputError on all
  /// ranks for an image on disk that must stop the run.
  void run(std::int64_t step, bool validation, const Tell& tell);
  /// Evaluates the averaged weights, which the caller has put into memory.parameters, with the
  /// running statistics that the caller has put into memory.averaged, or for ema.statistics:
  /// precise with those. Otherwise like run().
  void run_average(std::int64_t step, bool validation, const Tell& tell);

  /// Predicts a few test images at equal distances in the order of the files, with
  /// memory.parameters and the running statistics in memory.averaged. For labels per pixel; not
  /// collective. Images that cannot be read are left out.
  std::vector<ExampleImage> examples();

  void set_recorder(FlightRecorder* recorder);
  /// Returns the program that evaluates with running statistics.
  const Program& program() const { return averaged_->program(); }

 private:
  void run_kind(EvaluationStatistics statistics, bool of_average, std::int64_t step,
                bool validation, const Tell& tell);
  std::vector<std::uint32_t> shuffled(const std::vector<std::uint32_t>& samples) const;
  /// Evaluates with `set` in memory.averaged for as long as that takes.
  EvaluationResult run_with(const std::vector<float>& set, const EvaluationSplit& split,
                            std::int64_t step);
  double choose_weight(std::vector<CorruptImage>& corrupt, std::int64_t step);

  const Experiment& experiment_;
  const Dataset& dataset_;
  Memory& memory_;
  EvaluationSplit validation_, test_;            // in the order of the files
  EvaluationSplit by_batch_[2];                  // both in the order of batches
  std::vector<std::uint32_t> training_samples_;  // precise: as far as they are used
  std::unique_ptr<Evaluator> averaged_, batch_, mixed_;
};

}  // namespace syncnorm
