// Evaluation: loss and accuracy over a list of samples, bit-identical for any number of ranks.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "comm/reduction.h"
#include "engine/data/augment.h"
#include "engine/data/dataset.h"
#include "engine/data/eval_chunks.h"
#include "engine/program/executor.h"
#include "engine/program/flight_hook.h"
#include "engine/train/class_counts.h"
#include "engine/train/observer.h"

namespace syncnorm {

/// Samples per chunk where they do not see each other. One rank computes a whole chunk; chunks are
/// summed in order.
inline constexpr int kEvaluationChunk = 50;

struct EvaluationResult {
  double loss = 0.0;      // mean
  double accuracy = 0.0;  // share of correct images, or pixels
  ClassCounts classes;
  bool per_pixel = false;
  /// Returns what decides which of two evaluations is better: mIoU with labels per pixel, else
  /// accuracy.
  double score() const { return per_pixel ? classes.mean_iou() : accuracy; }
  std::vector<CorruptImage> corrupt;  // skipped by this rank
};

/// Returns the samples per chunk for a data set. With labels per pixel, a chunk has at most the
/// pixels of a training batch of one replica, but at least one image.
int evaluation_chunk(const Experiment& experiment, const ImageSet& images);

/// How an Evaluator normalizes.
struct EvaluatorOptions {
  /// evaluation: by memory.averaged. mixed_evaluation: by that and the sample's own statistics.
  /// batch_evaluation: every chunk of `chunk` samples by its own statistics; the samples that
  /// remain at the end belong to the last chunk.
  ProgramMode mode = ProgramMode::evaluation;
  int chunk = kEvaluationChunk;
  /// batch_evaluation: the lengths of all lists of samples that will be given.
  std::vector<std::size_t> lengths;
};

class Evaluator {
 public:
  /// `layout` is the offset of each parameter in memory.parameters. Throws InputError when the
  /// model cannot be computed.
  Evaluator(const Graph& graph, const Experiment& experiment, std::span<const std::size_t> layout,
            const Dataset& dataset, Device& device, Communicator& comm, Memory& memory,
            const EvaluatorOptions& options = {});

  /// Evaluates `samples` (indices into `images`) with memory.parameters. `step` is only for the
  /// flight recorder. Collective. Throws InputError on all ranks for an image on disk that must
  /// stop the run.
  EvaluationResult run(const ImageSet& images, std::span<const std::uint32_t> samples,
                       std::int64_t step = 0);

  /// Labels per pixel: predicts `samples` without communication. Images that cannot be read are
  /// left out.
  std::vector<ExampleImage> examples(const ImageSet& images,
                                     std::span<const std::uint32_t> samples);

  /// batch_evaluation: returns the mean and unbiased variance of everything that each norm sees in
  /// `samples`, as a set of memory.averaged: [running_floats]. Adds the images that were skipped by
  /// this rank to `corrupt`. Otherwise like run().
  std::vector<float> statistics_of(const ImageSet& images, std::span<const std::uint32_t> samples,
                                   std::vector<CorruptImage>& corrupt, std::int64_t step = 0);

  /// mixed_evaluation: sets the weight of a sample's own statistics, in [0, 1].
  void set_sample_weight(double weight) { state_.sample_weight = weight; }

  /// Sets the recorder for every operation and for the reduction of the sums. May be null.
  void set_recorder(FlightRecorder* recorder);
  const Program& program() const { return executors_.begin()->second.executor->program(); }

 private:
  struct Sized {
    std::unique_ptr<Executor> executor;
    std::unique_ptr<FlightHook> flight;  // for the recorder
  };

  void add_executor(const Graph& graph, const Experiment& experiment,
                    std::span<const std::size_t> layout, Device& device, Memory& memory,
                    int samples);
  bool by_batch() const { return options_.mode == ProgramMode::batch_evaluation; }
  EvalChunks chunks_of(std::span<const std::uint32_t> samples) const {
    return {static_cast<int>(samples.size()), options_.chunk, by_batch()};
  }
  Executor& executor_for(std::size_t samples) {
    return *executors_.at(by_batch() ? static_cast<int>(samples) : options_.chunk).executor;
  }
  void record(const char* what, std::int64_t step) const;
  /// Runs chunks [own.begin, own.end). Calls before(chunk, executor) and after(chunk, executor,
  /// batch).
  template <class Before, class After>
  void run_chunks(Interval own, const ImageSet& images, std::span<const std::uint32_t> samples,
                  std::vector<CorruptImage>& corrupt, const Before& before, const After& after);
  /// Returns the sums of chunks [own.begin, own.end), and counts their classes.
  std::vector<double> sums_of(Interval own, const ImageSet& images,
                              std::span<const std::uint32_t> samples, ClassCounts& classes,
                              std::vector<CorruptImage>& corrupt);
  /// Returns the predictions of the last run, [slots, pixels].
  std::vector<std::int32_t> predictions_of(const Executor& executor) const;
  void count_classes(const Executor& executor, const ImageSet& images, const EvalBatch& batch,
                     std::size_t samples, ClassCounts& classes) const;
  std::size_t values_per_chunk() const;
  double dice_loss_of(std::span<const double> sums, const ClassCounts& classes) const;
  /// Calls `compute`; where it reads files, all ranks throw what one of them throws.
  template <class Compute>
  void on_all_ranks(const ImageSet& images, const Compute& compute);

  EvaluatorOptions options_;
  const LossConfig loss_;
  const bool per_pixel_;
  Communicator& comm_;
  Memory& memory_;
  std::unique_ptr<Communicator> self_;
  NormalizationTable normalization_;
  const std::vector<float> mean_, stddev_;  // per channel of the images
  std::map<int, Sized> executors_;          // by samples
  int slots_ = 0;                           // samples of the largest one
  StepState state_;
  FlightRecorder* recorder_ = nullptr;
  Buffer images_;                                  // for EvalFeed
  std::unique_ptr<Reduction<double>> statistics_;  // of all segments; made when first used
};

}  // namespace syncnorm
