// Evaluation: loss and accuracy over a list of samples, the same bits on any number of ranks.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/data/augment.h"
#include "engine/data/dataset.h"
#include "engine/data/eval_chunks.h"
#include "engine/program/executor.h"
#include "engine/program/flight_hook.h"

namespace syncnorm {

/// Samples per chunk. Chunks are computed whole on one rank and summed in their order.
inline constexpr int kEvaluationChunk = 50;

struct EvaluationResult {
  double loss = 0.0;                  // mean
  double accuracy = 0.0;              // share of correct samples
  std::vector<CorruptImage> corrupt;  // that this rank met, and skipped
};

class Evaluator {
 public:
  /// `layout`: places of the parameters in memory.parameters.
  Evaluator(const Graph& graph, const Experiment& experiment, std::span<const std::size_t> layout,
            const Dataset& dataset, Device& device, Communicator& comm, Memory& memory);

  /// Evaluates `samples` (indices into `images`) with memory.parameters and memory.averaged.
  /// `step` is for the recorder. Collective. Throws InputError on all ranks for an image on disk
  /// that must stop the run.
  EvaluationResult run(const ImageSet& images, std::span<const std::uint32_t> samples,
                       std::int64_t step = 0);

  /// Told of every operation, and of the reduction of the sums. May be null.
  void set_recorder(FlightRecorder* recorder);
  const Program& program() const { return executor_->program(); }

 private:
  /// The sums of chunks [own.begin, own.end).
  std::vector<double> sums_of(Interval own, const EvalChunks& chunks, const ImageSet& images,
                              std::span<const std::uint32_t> samples,
                              std::vector<CorruptImage>& corrupt);

  Communicator& comm_;
  std::unique_ptr<Communicator> self_;
  NormalizationTable normalization_;
  std::unique_ptr<Executor> executor_;
  FlightRecorder* recorder_ = nullptr;
  std::unique_ptr<FlightHook> flight_;  // of the recorder
  Buffer images_;                       // of EvalFeed
};

}  // namespace syncnorm
