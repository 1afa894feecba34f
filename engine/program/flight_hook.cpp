// See flight_hook.h.
#include "engine/program/flight_hook.h"

#include "engine/program/executor.h"

namespace syncnorm {

FlightHook::FlightHook(FlightRecorder& recorder, const Executor& executor) : recorder_(recorder) {
  for (std::size_t i = 0; i < executor.program().instructions.size(); ++i)
    names_.push_back(recorder.name(executor.instruction_name(static_cast<int>(i))));
}

bool FlightHook::before(Executor& executor, std::size_t index, const StepState& state) {
  const InstructionKind instruction = executor.program().instructions[index].kind;
  FlightKind kind = FlightKind::run;
  if (instruction != InstructionKind::compute) {
    if (executor.queued()) return true;  // see waiting()
    kind = instruction == InstructionKind::reduce_start ? FlightKind::start : FlightKind::wait;
  }
  recorder_.record(kind, names_[index], static_cast<std::int64_t>(state.step) + 1,
                   static_cast<int>(index));
  return true;
}

void FlightHook::waiting(Executor& executor, std::int64_t step) {
  const volatile ReductionMarks* marks = executor.reductions().marks();
  if (marks == nullptr) return;
  const ReductionMarks now{marks->started, marks->finished};
  const std::vector<Instruction>& instructions = executor.program().instructions;
  const auto tell = [&](FlightKind kind, std::int32_t number) {
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const Instruction& in = instructions[i];
      if (in.kind == InstructionKind::reduce_start && in.reduction == number - 1)
        return recorder_.record(kind, names_[i], step, static_cast<int>(i));
    }
  };
  if (now.started != seen_.started) {
    tell(FlightKind::start, now.started);
    if (now.finished != now.started) tell(FlightKind::wait, now.started);
  } else if (now.finished != seen_.finished) {
    tell(FlightKind::run, now.finished);
  }
  seen_ = now;
}

}  // namespace syncnorm
