// The record of a launch: times, losses, evaluations, and the best one. The end event is made from
// it.
#pragma once

#include <optional>
#include <vector>

#include "engine/train/observer.h"

namespace syncnorm {

class RunRecord {
 public:
  /// Reserves memory for `steps` steps, so that a step allocates nothing.
  void reserve(std::int64_t steps);

  void add(const StepEvent& step);
  void add(const EvalEvent& evaluation);
  void add_evaluation_seconds(double seconds) { evaluation_seconds_ += seconds; }
  void add_checkpoint_seconds(double seconds) { checkpoint_seconds_ += seconds; }

  /// Returns the step with the best validation score (EvalEvent::score); -1 before the first
  /// evaluation.
  std::int64_t best_step() const { return best_step_; }
  double best_score() const { return best_score_; }
  void set_best(std::int64_t step, double score);

  /// Returns the end event without status, message, step and images.
  EndEvent end() const;

 private:
  double step_seconds_ = 0.0, reduction_seconds_ = 0.0, data_seconds_ = 0.0;
  double evaluation_seconds_ = 0.0, checkpoint_seconds_ = 0.0;
  std::vector<double> rates_;                             // samples per second of each step
  std::vector<double> recent_losses_;                     // at most 100
  std::optional<EvalEvent> last_test_, last_validation_;  // of the first statistics
  std::vector<EvalEvent> others_;  // the last of every split and statistics but the first
  double sample_weight_ = -1.0;    // of the last evaluation with mixed statistics
  std::int64_t best_step_ = -1;
  double best_score_ = -1.0;
};

}  // namespace syncnorm
