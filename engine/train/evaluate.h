// Evaluation: loss and accuracy over a list of samples, bit-identical for any number of ranks.
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

/// Samples per chunk. One rank computes a whole chunk; chunks are summed in order.
inline constexpr int kEvaluationChunk = 50;

struct EvaluationResult {
  double loss = 0.0;                  // mean
  double accuracy = 0.0;              // share of correct samples
  std::vector<CorruptImage> corrupt;  // skipped by this rank
};

class Evaluator {
 public:
  /// `layout` is the offset of each parameter in memory.parameters.
  Evaluator(const Graph& graph, const Experiment& experiment, std::span<const std::size_t> layout,
            const Dataset& dataset, Device& device, Communicator& comm, Memory& memory);

  /// Evaluates `samples` (indices into `images`) with memory.parameters and memory.averaged. `step`
  /// is only for the flight recorder. Collective. Throws InputError on all ranks for an image on
  /// disk that must stop the run.
  EvaluationResult run(const ImageSet& images, std::span<const std::uint32_t> samples,
                       std::int64_t step = 0);

  /// Sets the recorder for every operation and for the reduction of the sums. May be null.
  void set_recorder(FlightRecorder* recorder);
  const Program& program() const { return executor_->program(); }

 private:
  /// Returns the sums of chunks [own.begin, own.end).
  std::vector<double> sums_of(Interval own, const EvalChunks& chunks, const ImageSet& images,
                              std::span<const std::uint32_t> samples,
                              std::vector<CorruptImage>& corrupt);

  Communicator& comm_;
  std::unique_ptr<Communicator> self_;
  NormalizationTable normalization_;
  std::unique_ptr<Executor> executor_;
  FlightRecorder* recorder_ = nullptr;
  std::unique_ptr<FlightHook> flight_;  // for the recorder
  Buffer images_;                       // for EvalFeed
};

}  // namespace syncnorm
