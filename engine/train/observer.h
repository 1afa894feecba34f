// Events of a run, and the interfaces that receive them. The engine knows no observer: the run log,
// the console and metrics are observers in monitoring/.
//
// Observer is called on rank 0, RankObserver on every rank, in order, by the training thread, which
// an observer must not block. All seconds are wall time on the rank of the observer.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/probe/results.h"
#include "engine/train/metric.h"

namespace syncnorm {

struct StartEvent {
  std::string name;
  std::string run_dir;
  std::string device;  // description with instruction set and library versions
  std::string communicator;
  std::string version;  // of syncnorm
  std::string model;
  int ranks = 1;
  int replicas = 1;
  int batch_per_replica = 1;
  std::int64_t first_step = 0;  // updates already done: 0, or those before the resume
  std::int64_t total_steps = 0;
  std::int64_t steps_per_epoch = 1;
  std::string dataset;  // its name
  std::int64_t train_samples = 0, validation_samples = 0, test_samples = 0;
  int classes = 0;
  std::vector<std::string> class_names;  // empty: not known
  Metric metric = kAccuracyMetric;
  std::int64_t parameters = 0;   // trained values
  std::int64_t arena_bytes = 0;  // on rank 0
  std::string statistics;        // the first of evaluation.statistics; "": no other than running
  std::string config_yaml;       // the resolved configuration
  std::vector<std::string> choices;  // of the device, per operation (Device::choices)
};

struct StepEvent {
  std::int64_t step = 0;   // updates completed; the first is 1
  std::int64_t epoch = 0;  // of the step, from 1
  double loss = 0.0;       // mean over the global batch, before the update
  double accuracy = 0.0;   // of the global batch, before the update
  double lr = 0.0;
  std::int64_t samples = 0;        // of this global batch
  double seconds = 0.0;            // of this step, including waiting for data
  double gradient_norm = -1.0;     // global 2-norm before clipping; negative: not computed
  double data_seconds = 0.0;       // of `seconds`, spent waiting for data
  double reduction_seconds = 0.0;  // of `seconds`, spent in exposed reductions
};

/// How an evaluation's samples, or pixels, of one class were classified; shares are nan where there
/// are none.
struct ClassResult {
  std::string name;       // or its number
  double accuracy = 0.0;  // share of its labels that are predicted
  double iou = 0.0;       // intersection over union
  std::int64_t labels = 0;
};

struct EvalEvent {
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  std::string split;  // "test" or "validation"
  double loss = 0.0;
  double accuracy = 0.0;   // in [0, 1]; with labels per pixel, of pixels
  double mean_iou = -1.0;  // with labels per pixel: in [0, 1], or nan where no pixel counts
  std::vector<ClassResult> classes;
  double seconds = 0.0;
  /// The word of evaluation.statistics; "" where the run has no other than running.
  std::string statistics;
  std::string weights;          // "ema": averaged (ema.decay); "": the model's
  bool first = true;            // of evaluation.statistics, which decides about the best checkpoint
  double sample_weight = -1.0;  // statistics mixed: that of the sample's own; negative: not mixed

  bool per_pixel() const { return !(mean_iou < 0.0); }
  Metric metric() const { return per_pixel() ? kMeanIouMetric : kAccuracyMetric; }
  double score() const { return per_pixel() ? mean_iou : accuracy; }
  /// Returns the word of an evaluation besides the first: of its weights or statistics; else "".
  std::string word() const { return first ? "" : (weights.empty() ? statistics : weights); }
  /// Returns an underscore and the word, the end of names; "" for the first evaluation.
  std::string suffix() const { return first ? "" : "_" + word(); }
};

/// A test image with its labels and the predictions for it, of the first evaluation of the last
/// step.
struct ExampleImage {
  std::uint32_t sample = 0;
  int height = 0, width = 0;
  std::vector<std::uint8_t> rgb;                // [height, width, 3]
  std::vector<std::uint8_t> truth, prediction;  // [height, width]: classes; 255: ignored
};
struct ExamplesEvent {
  std::vector<ExampleImage> images;
};

/// The state after `step` will be saved; anything received so far must be made durable.
struct SnapshotEvent {
  std::int64_t step = 0;
};

struct CheckpointEvent {
  std::int64_t step = 0;
  std::string path;  // folder
  std::int64_t bytes = 0;
  double seconds = 0.0;  // of writing, concurrent with training
};

/// A checkpoint that could not be written; the run continues.
struct CheckpointFailedEvent {
  std::int64_t step = 0;
  std::string message;
};

struct ResumeEvent {
  std::int64_t step = 0;  // updates completed by the checkpoint
  std::string path;
  std::string note;  // what is not as in the run before; "": nothing
};

struct EndEvent {
  std::string status;   // "done", "stopped" or "diverged"
  std::string message;  // why, when not done
  std::int64_t step = 0;
  double seconds = 0.0;             // of all steps of this launch
  double samples_per_second = 0.0;  // median step of this launch
  double reduction_share = 0.0;     // of step time, in exposed reductions
  double data_share = 0.0;          // of step time, waiting for data
  double evaluation_seconds = 0.0;  // in this launch, not part of the steps
  // Seconds that training waited for checkpoints.
  double checkpoint_seconds = 0.0;
  double final_loss = 0.0;  // mean over the last steps, at most 100
  // The last evaluations of the first statistics; absent: there was none.
  std::optional<EvalEvent> test, validation;
  Metric metric = kAccuracyMetric;
  double best_validation_score = -1.0;
  std::vector<EvalEvent> other_evaluations;  // the last of every split and other statistics
  double sample_weight = -1.0;  // statistics mixed: in the last evaluation; negative: none
  std::int64_t best_step = -1;  // of the best validation score
  bool reads_files = false;     // trains on image files
  /// Path and reason of every unusable image in this launch, on any rank; each once.
  std::vector<std::pair<std::string, std::string>> corrupt;
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_start(const StartEvent&) {}
  virtual void on_resume(const ResumeEvent&) {}
  virtual void on_step(const StepEvent&) {}
  virtual void on_probe(const ProbeEvent&) {}  // after its step
  virtual void on_eval(const EvalEvent&) {}
  virtual void on_examples(const ExamplesEvent&) {}  // before the end, with labels per pixel
  virtual void on_snapshot(const SnapshotEvent&) {}
  virtual void on_checkpoint(const CheckpointEvent&) {}
  virtual void on_checkpoint_failed(const CheckpointFailedEvent&) {}
  virtual void on_end(const EndEvent&) {}
};

/// Purpose of a reduction; index of PhaseSums.
enum class Phase { forward_statistics, backward_statistics, gradient, loss };
inline constexpr std::size_t kPhases = 4;
using PhaseSums = std::array<double, kPhases>;

struct RankStartEvent {
  std::int64_t arena_bytes = 0;   // on this rank
  std::vector<LayerInfo> layers;  // empty: not sampled
};

/// A step as one rank measured it.
struct RankStepEvent {
  std::int64_t step = 0;           // as in StepEvent
  double seconds = 0.0;            // including waiting for data
  double data_seconds = 0.0;       // waiting for data
  PhaseSums exposed{};             // seconds starting and waiting for reductions
  PhaseSums in_flight{};           // seconds from start until seen complete
  PhaseSums bytes{};               // sent by this rank
  bool gradient_measured = false;  // in this step
  double gradient_norm = 0.0;      // global 2-norm before clipping, when measured

  double exposed_seconds() const { return exposed[0] + exposed[1] + exposed[2] + exposed[3]; }
  /// Returns the seconds outside the collectives, which are larger on a slow rank.
  double work_seconds() const { return seconds - exposed_seconds(); }
};

class RankObserver {
 public:
  virtual ~RankObserver() = default;
  /// Called before Observer::on_start, and so before the run folder is written. Only this call may
  /// communicate, and throw the same error on every rank.
  virtual void on_rank_start(const RankStartEvent&) {}
  virtual void on_rank_step(const RankStepEvent&) {}
  /// Passes one entry per layer of RankStartEvent, valid during the call. Called after the step's
  /// on_rank_step.
  virtual void on_layers(std::int64_t step, std::span<const LayerSums>) { (void)step; }
};

}  // namespace syncnorm
