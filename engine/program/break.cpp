// Where a step can be broken on purpose: the first operation that makes activations, and the first
// reduction of a kind.
#include <limits>

#include "engine/program/executor.h"

namespace syncnorm {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::int64_t update_of(const StepState& state) { return static_cast<std::int64_t>(state.step) + 1; }

}  // namespace

void Executor::set_faults(Faults* faults) {
  faults_ = faults;
  fault_instruction_ = 0;
  const auto makes_activations = [&](const Instruction& instruction) {
    if (instruction.pass != Pass::forward || instruction.kind != InstructionKind::compute)
      return false;
    const auto output = static_cast<std::size_t>(instruction.first_output);
    if (output >= instruction.args.size() || instruction.args[output] < 0) return false;
    const Tensor& tensor = program_.tensors[static_cast<std::size_t>(instruction.args[output])];
    return tensor.space == Space::arena && tensor.element == 'f';
  };
  while (fault_instruction_ < program_.instructions.size() &&
         !makes_activations(program_.instructions[fault_instruction_]))
    ++fault_instruction_;
}

void Executor::break_forward(std::size_t index, const StepState& state) {
  if (index != fault_instruction_) return;
  if (faults_->at(FaultPlace::forward, update_of(state)) != FaultEffect::nan) return;
  const Instruction& instruction = program_.instructions[index];
  const int output = instruction.args[static_cast<std::size_t>(instruction.first_output)];
  device_.write(pointer(output, wave_begin_), &kNan, sizeof kNan);
}

bool Executor::breaks_reduction(const Instruction& instruction, const StepState& state) {
  const ReductionSpec& spec = program_.reductions[static_cast<std::size_t>(instruction.reduction)];
  if (spec.kind == ReductionKind::loss) return false;
  const bool gradient = spec.kind == ReductionKind::gradient;
  const FaultEffect effect =
      faults_->at(gradient ? FaultPlace::gradient : FaultPlace::statistics, update_of(state));
  if (effect == FaultEffect::nan) {
    if (gradient) {
      device_.write(gradient_pointer(0, spec.offset), &kNan, sizeof kNan);
    } else {
      const double nan = kNan;
      device_.write(pointer(spec.leaf, wave_begin_), &nan, sizeof nan);
    }
  }
  return effect == FaultEffect::skip;
}

}  // namespace syncnorm
