// What a person sees: a progress bar on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <iosfwd>

#include "engine/train/observer.h"

namespace syncnorm {

class Console final : public Observer {
 public:
  /// `terminal`: redraw one line; else a plain line now and then (at most one per 5 seconds).
  Console(std::ostream& out, bool terminal) : out_(out), terminal_(terminal) {}

  void on_start(const StartEvent& event) override;
  void on_resume(const ResumeEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_eval(const EvalEvent& event) override;
  void on_checkpoint_failed(const CheckpointFailedEvent& event) override;
  void on_end(const EndEvent& event) override;

 private:
  void clear_line();

  std::ostream& out_;
  bool terminal_;
  StartEvent start_;
  double smoothed_loss_ = 0.0, smoothed_seconds_ = 0.0;
  bool first_ = true;
  std::chrono::steady_clock::time_point last_shown_{};
};

}  // namespace syncnorm
