// The run's output for people: a progress bar on a terminal, plain lines elsewhere.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>

#include "base/clock.h"
#include "engine/train/observer.h"

namespace syncnorm {

class Console final : public Observer {
 public:
  /// Returns the terminal's width in columns; called whenever the line is drawn.
  using Columns = std::function<int()>;

  /// With `columns`, redraws one line of a terminal; else prints a plain line at most every 5
  /// seconds.
  explicit Console(std::ostream& out, Columns columns = nullptr)
      : out_(out), columns_(std::move(columns)) {}

  void on_start(const StartEvent& event) override;
  void on_resume(const ResumeEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_eval(const EvalEvent& event) override;
  void on_checkpoint_failed(const CheckpointFailedEvent& event) override;
  void on_end(const EndEvent& event) override;

 private:
  void clear_line();
  void draw_line(const std::string& facts, double done);

  std::ostream& out_;
  Columns columns_;
  int bar_width_ = 24;  // columns at most
  StartEvent start_;
  double smoothed_loss_ = 0.0, smoothed_seconds_ = 0.0;
  bool first_ = true;
  Clock::time_point last_shown_{};
};

}  // namespace syncnorm
