// The run folder: config.yaml, metrics.jsonl and summary.json, written during the run.
#pragma once

#include <filesystem>

#include "base/clock.h"
#include "engine/train/observer.h"
#include "monitoring/append_file.h"

namespace syncnorm {

/// Writes one JSON object per line, each with `event`; numbers are printed so that they read back
/// to the same bits. Throws InputError when the folder cannot be written at the start, and
/// CheckpointError at the end when part of the result is missing; in between, a full disk only
/// causes a warning.
class RunLog final : public Observer {
 public:
  /// `say` shows warnings to the user.
  explicit RunLog(AppendFile::Say say) : log_("line", std::move(say)) {}

  void on_start(const StartEvent& event) override;
  void on_resume(const ResumeEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_probe(const ProbeEvent& event) override;
  void on_eval(const EvalEvent& event) override;
  void on_examples(const ExamplesEvent& event) override;
  void on_snapshot(const SnapshotEvent& event) override;
  void on_checkpoint(const CheckpointEvent& event) override;
  void on_checkpoint_failed(const CheckpointFailedEvent& event) override;
  void on_end(const EndEvent& event) override;

 private:
  void cut_back(std::int64_t step);
  template <class Json>
  void write(const Json& json);  // and flushes

  std::filesystem::path folder_;
  AppendFile log_;
  Clock::time_point next_flush_;
  StartEvent start_;
};

}  // namespace syncnorm
