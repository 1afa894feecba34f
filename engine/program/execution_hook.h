// Hooks that observe a step while it runs, or break it on purpose: the flight recorder, layer
// probes, measurements and faults. An executor calls its hooks in the order in which they were
// added.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/device.h"

namespace syncnorm {

class Executor;

class ExecutionHook {
 public:
  virtual ~ExecutionHook() = default;
  /// Called before instruction `index` of the executor's program runs. Returns false to skip it.
  virtual bool before(Executor& executor, std::size_t index, const StepState& state);
  /// Called after a compute instruction of scope replica or group has run for a local replica, or
  /// for the group that begins with that replica. Its inputs and outputs are still in memory.
  virtual void ran(Executor& executor, std::size_t index, int replica);
  /// Called in training passes (not in Executor::run_forward) after instruction `index` has run for
  /// all replicas of the wave, even if it was skipped or runs only in the last wave.
  virtual void after(Executor& executor, std::size_t index, const StepState& state);
  /// Called while the host waits for a queued step.
  virtual void waiting(Executor& executor, std::int64_t step);
  /// Returns true for a hook that must be called in every step; steps then cannot be replayed from
  /// a recording.
  virtual bool in_every_step() const { return false; }
};

inline bool ExecutionHook::before(Executor&, std::size_t, const StepState&) { return true; }
inline void ExecutionHook::ran(Executor&, std::size_t, int) {}
inline void ExecutionHook::after(Executor&, std::size_t, const StepState&) {}
inline void ExecutionHook::waiting(Executor&, std::int64_t) {}

}  // namespace syncnorm
