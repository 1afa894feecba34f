// Runs one instruction for the replicas of a wave: one after another, or as many in a call as the
// device takes.
#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/program/executor.h"

namespace syncnorm {
namespace {

/// Calls `run`; what it throws names the layer.
template <class Run>
void naming_layer(const Instruction& instruction, const Run& run) {
  try {
    run();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw std::runtime_error(fmt::format("layer '{}', {}: {}", instruction.layer,
                                         op_name(instruction.op), error.what()));
  }
}

}  // namespace

void Executor::call_for_replicas(std::size_t index, int first, int end, const StepState& state) {
  for (int r = first; r < end;) {
    const int run_end = call_next(index, r, end, state);
    if (steps_[index].kernels[static_cast<std::size_t>(r)] == nullptr)
      contribute_nothing(program_.instructions[index], r);
    for (; r < run_end; ++r) {
      merge_gradients(index, r, state);
      tell_ran(index, r);
    }
  }
}

int Executor::call_next(std::size_t index, int first, int end, const StepState& state) {
  Kernel* kernel = steps_[index].kernels[static_cast<std::size_t>(first)];
  const int run_end = kernel != nullptr ? end_of_run(index, first, end) : first + 1;
  if (run_end > first + 1)
    call_repeated(index, first, run_end, state);
  else if (kernel != nullptr)
    call(program_.instructions[index], kernel, first, state);
  return run_end;
}

/// Returns the end of the replicas from `first` on that one call can do: the same kernel, operands
/// at equal distances, and no gradients that must be merged in between.
int Executor::end_of_run(std::size_t index, int first, int end) const {
  const Step& step = steps_[index];
  const auto exists = [](const Kernel* kernel) { return kernel != nullptr; };
  if (!device_.batches_replicas() || std::any_of(step.merges.begin(), step.merges.end(), exists))
    return first + 1;
  const std::vector<int>& args = program_.instructions[index].args;
  const auto distance = [&](int tensor, int r) {
    return tensor < 0 ? 0 : tensors_.at(tensor, r + 1) - tensors_.at(tensor, r);
  };
  int r = first + 1;
  for (; r < end; ++r) {
    const auto same = [&](int tensor) {
      return distance(tensor, r - 1) == distance(tensor, first);
    };
    if (step.kernels[static_cast<std::size_t>(r)] !=
            step.kernels[static_cast<std::size_t>(first)] ||
        !std::all_of(args.begin(), args.end(), same))
      break;
  }
  return r;
}

void Executor::call(const Instruction& instruction, Kernel* kernel, int replica,
                    const StepState& state) {
  std::array<void*, kMostOperands> args;
  for (std::size_t a = 0; a < instruction.args.size(); ++a)
    args[a] = instruction.args[a] < 0 ? nullptr : tensors_.at(instruction.args[a], replica);
  naming_layer(instruction, [&] { kernel->run({args.data(), instruction.args.size()}, state); });
}

void Executor::call_repeated(std::size_t index, int first, int end, const StepState& state) {
  const Instruction& instruction = program_.instructions[index];
  const Step& step = steps_[index];
  std::array<void*, kMostOperands> args;
  std::array<std::size_t, kMostOperands> strides;
  const std::size_t count = instruction.args.size();
  for (std::size_t a = 0; a < count; ++a) {
    const int tensor = instruction.args[a];
    std::byte* at = tensor < 0 ? nullptr : tensors_.at(tensor, first);
    args[a] = at;
    strides[a] = at == nullptr ? 0 : static_cast<std::size_t>(tensors_.at(tensor, first + 1) - at);
  }
  const std::span<void* const> pointers(args.data(), count);
  const std::span<const std::size_t> distances(strides.data(), count);
  naming_layer(instruction, [&] {
    if (step.merged != nullptr && end - first == replicas_.wave && adjacent(instruction, distances))
      step.merged->run(pointers, state);
    else
      step.kernels[static_cast<std::size_t>(first)]->run_repeated(pointers, distances, end - first,
                                                                  state);
  });
}

/// Returns true if the replicas' samples follow each other without gaps and everything else is
/// shared, so that one call can take all samples as a batch.
bool Executor::adjacent(const Instruction& instruction,
                        std::span<const std::size_t> strides) const {
  for (std::size_t a = 0; a < strides.size(); ++a) {
    if (instruction.args[a] < 0 || strides[a] == 0) continue;
    const Tensor& tensor = program_.tensors[static_cast<std::size_t>(instruction.args[a])];
    const bool of_samples =
        (tensor.per == Per::replica || tensor.per == Per::wave_replica) && tensor.element != 'd';
    if (!of_samples || strides[a] != tensor.bytes) return false;
  }
  return true;
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

}  // namespace syncnorm
