// Who looks at a step while it runs, or breaks it on purpose: the flight recorder, probes of
// layers, measurements and faults. An executor calls its hooks in the order in which they were
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
  /// Before instruction `index` of the executor's program is run. false: it is left out.
  virtual bool before(Executor& executor, std::size_t index, const StepState& state);
  /// A compute instruction with the scope replica or group has run for a local replica, or for the
  /// group that begins with it; what it read and wrote is still there.
  virtual void ran(Executor& executor, std::size_t index, int replica);
  /// Training passes (not Executor::run_forward): `index` is behind, for all replicas that are
  /// computed together; also where it was left out, or belongs to the last wave only.
  virtual void after(Executor& executor, std::size_t index, const StepState& state);
  /// The host waits for a step that was queued.
  virtual void waiting(Executor& executor, std::int64_t step);
  /// True: it must be called in every step, so none may be replayed from a recording.
  virtual bool in_every_step() const { return false; }
};

inline bool ExecutionHook::before(Executor&, std::size_t, const StepState&) { return true; }
inline void ExecutionHook::ran(Executor&, std::size_t, int) {}
inline void ExecutionHook::after(Executor&, std::size_t, const StepState&) {}
inline void ExecutionHook::waiting(Executor&, std::int64_t) {}

}  // namespace syncnorm
