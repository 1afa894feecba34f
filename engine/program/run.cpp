// Runs a program, instruction by instruction.
#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
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
      for (int r = first; r < end; ++r)
        if (r == first || replicas_.group_of(r) != replicas_.group_of(r - 1)) {
          call(instruction, kernels[0], r, state);
          tell_ran(index, r);
        }
      break;
    case Scope::replica:
      for (int r = first; r < end; ++r) {
        Kernel* kernel = kernels[static_cast<std::size_t>(r)];
        if (kernel != nullptr)
          call(instruction, kernel, r, state);
        else
          contribute_nothing(instruction, r);
        merge_gradients(index, r, state);
        tell_ran(index, r);
      }
      break;
  }
}

void Executor::call(const Instruction& instruction, Kernel* kernel, int replica,
                    const StepState& state) {
  std::array<void*, kMostOperands> args;
  for (std::size_t a = 0; a < instruction.args.size(); ++a)
    args[a] = instruction.args[a] < 0 ? nullptr : tensors_.at(instruction.args[a], replica);
  try {
    kernel->run({args.data(), instruction.args.size()}, state);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw std::runtime_error(fmt::format("layer '{}', {}: {}", instruction.layer,
                                         op_name(instruction.op), error.what()));
  }
}

void Executor::tell_ran(std::size_t index, int replica) {
  for (ExecutionHook* hook : hooks_) hook->ran(*this, index, replica);
}

bool Executor::can_be_recorded() const {
  return std::none_of(hooks_.begin(), hooks_.end(),
                      [](const ExecutionHook* hook) { return hook->in_every_step(); });
}

void Executor::contribute_nothing(const Instruction& instruction, int replica) {
  for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
       a < instruction.args.size(); ++a) {
    if (instruction.args[a] >= 0) tensors_.zero(instruction.args[a], replica);
  }
}

void Executor::merge_gradients(std::size_t index, int replica, const StepState& state) {
  const Instruction& instruction = program_.instructions[index];
  const std::vector<Kernel*>& merges = steps_[index].merges;
  for (std::size_t o = 0; o < merges.size(); ++o) {
    if (merges[o] == nullptr) continue;
    const int argument = instruction.args[static_cast<std::size_t>(instruction.first_output) + o];
    const std::size_t offset =
        program_.tensors[static_cast<std::size_t>(argument)].offset / sizeof(float);
    auto top = static_cast<std::size_t>(
        reductions_.gradient_plan().slot[static_cast<std::size_t>(replica)]);
    for (int m = 0; m < reductions_.gradient_plan().merges[static_cast<std::size_t>(replica)];
         ++m, --top) {
      float* sum = tensors_.gradient(top - 1, offset);
      merges[o]->run(pointer_list<Add>({.a = sum, .b = tensors_.gradient(top, offset), .sum = sum}),
                     state);
    }
  }
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
      for (int r = tensors_.wave(); r < replicas_.wave_end(tensors_.wave()); ++r)
        if (Kernel* kernel = kernels[static_cast<std::size_t>(r)]; kernel != nullptr)
          call(instruction, kernel, r, state);
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
