// Reports every instruction to the flight recorder, so that the watchdog sees progress.
#pragma once

#include <vector>

#include "comm/flight_recorder.h"
#include "engine/program/execution_hook.h"
#include "engine/program/reductions.h"

namespace syncnorm {

class FlightHook final : public ExecutionHook {
 public:
  /// The hook serves only `executor`, whose instructions it names. `recorder` must outlive it.
  FlightHook(FlightRecorder& recorder, const Executor& executor);

  bool before(Executor& executor, std::size_t index, const StepState& state) override;
  /// Records which queued reductions the device has started and finished since the last call.
  void waiting(Executor& executor, std::int64_t step) override;

 private:
  FlightRecorder& recorder_;
  std::vector<int> names_;  // of the instructions
  ReductionMarks seen_;
};

}  // namespace syncnorm
