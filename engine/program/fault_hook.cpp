// See fault_hook.h.
#include "engine/program/fault_hook.h"

#include "engine/program/executor.h"

namespace syncnorm {
namespace {

std::int64_t update_of(const StepState& state) { return static_cast<std::int64_t>(state.step) + 1; }

int first_output(const Instruction& instruction) {
  const auto output = static_cast<std::size_t>(instruction.first_output);
  return output < instruction.args.size() ? instruction.args[output] : -1;
}

bool makes_activations(const Program& program, const Instruction& instruction) {
  if (instruction.pass != Pass::forward || instruction.kind != InstructionKind::compute)
    return false;
  const int output = first_output(instruction);
  if (output < 0) return false;
  const Tensor& tensor = program.tensors[static_cast<std::size_t>(output)];
  return tensor.space == Space::arena && tensor.element == 'f';
}

}  // namespace

FaultHook::FaultHook(Faults& faults, const Program& program) : faults_(faults) {
  while (forward_ < program.instructions.size() &&
         !makes_activations(program, program.instructions[forward_]))
    ++forward_;
}

bool FaultHook::before(Executor& executor, std::size_t index, const StepState& state) {
  const Instruction& instruction = executor.program().instructions[index];
  if (instruction.kind != InstructionKind::reduce_start) return true;
  const ReductionSpec& spec =
      executor.program().reductions[static_cast<std::size_t>(instruction.reduction)];
  if (spec.kind == ReductionKind::loss) return true;
  const bool gradient = spec.kind == ReductionKind::gradient;
  const FaultEffect effect =
      faults_.at(gradient ? FaultPlace::gradient : FaultPlace::statistics, update_of(state));
  if (effect == FaultEffect::nan) executor.tensors().put_nan(spec);
  return effect != FaultEffect::skip;
}

void FaultHook::after(Executor& executor, std::size_t index, const StepState& state) {
  if (index != forward_ || faults_.at(FaultPlace::forward, update_of(state)) != FaultEffect::nan)
    return;
  executor.tensors().put_nan(first_output(executor.program().instructions[index]));
}

}  // namespace syncnorm
