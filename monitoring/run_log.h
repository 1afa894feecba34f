// The run folder: config.yaml, metrics.jsonl and summary.json, written as the run goes.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>

#include "engine/train/observer.h"

namespace syncnorm {

/// One JSON object a line, each with `event`; numbers are printed so that they read back to the
/// same bits. Throws InputError when the folder cannot be written.
class RunLog final : public Observer {
 public:
  void on_start(const StartEvent& event) override;
  void on_resume(const ResumeEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_probe(const ProbeEvent& event) override;
  void on_eval(const EvalEvent& event) override;
  void on_snapshot(const SnapshotEvent& event) override;
  void on_checkpoint(const CheckpointEvent& event) override;
  void on_checkpoint_failed(const CheckpointFailedEvent& event) override;
  void on_end(const EndEvent& event) override;

 private:
  void cut_back(std::int64_t step);
  void open();

  std::filesystem::path folder_;
  std::ofstream log_;
  std::chrono::steady_clock::time_point next_flush_;
  StartEvent start_;
};

}  // namespace syncnorm
