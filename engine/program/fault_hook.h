// Injects faults into a step: at the first instruction that makes activations, and at the first
// reduction of a kind.
#pragma once

#include "engine/fault/faults.h"
#include "engine/program/execution_hook.h"
#include "engine/program/program.h"

namespace syncnorm {

class FaultHook final : public ExecutionHook {
 public:
  /// `faults` must outlive it.
  FaultHook(Faults& faults, const Program& program);

  bool before(Executor& executor, std::size_t index, const StepState& state) override;
  void after(Executor& executor, std::size_t index, const StepState& state) override;

 private:
  Faults& faults_;
  std::size_t forward_ = 0;  // the instruction after which the fault point `forward` lies
};

}  // namespace syncnorm
