// Runs a program, instruction by instruction.
#include <algorithm>

#include "engine/program/executor.h"

namespace syncnorm {

template <class Action>
void Executor::for_each_wave(const Action& action) {
  for (int first = 0; first < replicas_.count; first += replicas_.wave) {
    tensors_.set_wave(first);
    action();
  }
}

void Executor::load(const BatchView& batch) { tensors_.set_batch(input_->take(batch)); }

void Executor::run_loaded(const StepState& state, bool prepare) {
  for_each_wave([&] {
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      run_instruction(i, state, prepare);
      reductions_.progress();
      for (ExecutionHook* hook : hooks_) hook->after(*this, i, state);
    }
  });
}

std::array<double, kLossValues> Executor::loss() const {
  std::array<double, kLossValues> values{};
  device_.copy(values.data(), loss_values(), sizeof values);
  device_.synchronize();
  return values;
}

const double* Executor::loss_values() const {
  const int tensor =
      program_.loss_reduction >= 0
          ? program_.reductions[static_cast<std::size_t>(program_.loss_reduction)].result
          : program_.loss_tensor;
  return reinterpret_cast<const double*>(tensors_.at(tensor, 0));
}

bool Executor::runs_in_this_wave(const Instruction& instruction) const {
  if (instruction.kind == InstructionKind::compute) return true;
  const ReductionKind kind =
      program_.reductions[static_cast<std::size_t>(instruction.reduction)].kind;
  const bool of_all_waves = kind == ReductionKind::gradient || kind == ReductionKind::loss;
  return !of_all_waves || replicas_.wave_end(tensors_.wave()) == replicas_.count;
}

void Executor::run_instruction(std::size_t index, const StepState& state, bool prepare) {
  const Instruction& instruction = program_.instructions[index];
  if (!runs_in_this_wave(instruction)) return;
  for (ExecutionHook* hook : hooks_)
    if (!hook->before(*this, index, state)) return;
  if (instruction.kind == InstructionKind::reduce_start)
    return start_reduction(instruction.reduction);
  if (instruction.kind == InstructionKind::reduce_wait)
    return reductions_.wait(instruction.reduction);
  const std::vector<Kernel*>& kernels = steps_[index].kernels;
  const int first = tensors_.wave(), end = replicas_.wave_end(first);
  switch (instruction.scope) {
    case Scope::once:
      if (prepare && tensors_.wave() == 0) call(instruction, kernels[0], 0, state);
      break;
    case Scope::merged:
      if (kernels[0] != nullptr)
        call(instruction, kernels[0], 0, state);
      else
        contribute_nothing(instruction, 0);
      break;
    case Scope::group:
      if (static_cast<int>(replicas_.members.size()) == replicas_.count) {
        call_for_replicas(index, first, end, state);
        break;
      }
      for (int r = first; r < end; ++r)
        if (r == first || replicas_.group_of(r) != replicas_.group_of(r - 1)) {
          call(instruction, kernels[0], r, state);
          tell_ran(index, r);
        }
      break;
    case Scope::replica:
      call_for_replicas(index, first, end, state);
      break;
  }
}

void Executor::tell_ran(std::size_t index, int replica) {
  for (ExecutionHook* hook : hooks_) hook->ran(*this, index, replica);
}

bool Executor::can_be_recorded() const {
  return std::none_of(hooks_.begin(), hooks_.end(),
                      [](const ExecutionHook* hook) { return hook->in_every_step(); });
}

/// Sums statistics over the replicas of a group, and losses over all. Gradients were already folded
/// over this rank's replicas.
void Executor::start_reduction(int index) {
  const ReductionSpec& spec = program_.reductions[static_cast<std::size_t>(index)];
  reductions_.start(index, [&](int group) -> ReductionBuffers {
    if (spec.kind == ReductionKind::gradient) {
      float* first = tensors_.gradient(0, spec.offset);
      return {first, program_.parameter_floats * sizeof(float), first};
    }
    const bool loss = spec.kind == ReductionKind::loss;
    const int first = loss ? 0 : replicas_.members[static_cast<std::size_t>(group)].begin;
    const Tensor& leaf = program_.tensors[static_cast<std::size_t>(spec.leaf)];
    return {tensors_.at(spec.leaf, first), leaf.stride, tensors_.at(spec.result, first)};
  });
}

std::string Executor::where() const {
  const volatile ReductionMarks* marks = reductions_.marks();
  if (marks == nullptr || marks->started == marks->finished) return "";
  const auto reduction = static_cast<std::size_t>(marks->started - 1);
  return ", in the reduction of " + program_.reductions[reduction].name;
}

void Executor::give_up() { reductions_.give_up(); }

void Executor::follow(std::int64_t step) {
  reductions_.check();
  for (ExecutionHook* hook : hooks_) hook->waiting(*this, step);
}

void Executor::run_limit(const StepState& state, const BatchView& batch) {
  const auto counts = [](const Op& op) {
    return std::holds_alternative<ConvForward>(op) || std::holds_alternative<ConvDgrad>(op) ||
           std::holds_alternative<ConvWgrad>(op) || std::holds_alternative<LinearForward>(op) ||
           std::holds_alternative<LinearDgrad>(op) || std::holds_alternative<LinearWgrad>(op);
  };
  load(batch);
  for_each_wave([&] {
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& instruction = program_.instructions[i];
      if (instruction.kind != InstructionKind::compute || !counts(instruction.op)) continue;
      const std::vector<Kernel*>& kernels = steps_[i].kernels;
      if (instruction.scope == Scope::merged) {
        if (kernels[0] != nullptr) call(instruction, kernels[0], 0, state);
        continue;
      }
      const int end = replicas_.wave_end(tensors_.wave());
      for (int r = tensors_.wave(); r < end;) r = call_next(i, r, end, state);
    }
  });
}

void Executor::run_forward(StepState state, const BatchView& batch, const SeeFunction& see) {
  state.update_running = false;
  load(batch);
  for_each_wave([&] {
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& instruction = program_.instructions[i];
      const bool loss = instruction.kind != InstructionKind::compute &&
                        instruction.reduction == program_.loss_reduction;
      if (instruction.pass == Pass::backward || loss) continue;
      run_instruction(i, state, true);
      if (instruction.kind != InstructionKind::compute) continue;
      for (int r = tensors_.wave(); r < replicas_.wave_end(tensors_.wave()); ++r) see(i, r);
    }
  });
  tensors_.set_wave(0);
}

}  // namespace syncnorm
