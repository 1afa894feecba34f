// Set-up of an executor: kernels, reductions, memory. run.cpp runs it.
#include "engine/program/executor.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/program/passes.h"

namespace syncnorm {

Executor::Executor(Program program, Device& device, Communicator& comm, const Placement& placement,
                   const StatisticsGroups* groups, ReductionAlgorithm algorithm, Memory& memory)
    : program_(std::move(program)),
      device_(device),
      memory_(memory),
      queued_(!device.host_memory()),
      replicas_(program_, placement.block(comm.rank()), groups != nullptr ? groups->size() : 1),
      tensors_(program_, device, memory, replicas_, reductions_.gradient_plan()) {
  if (device.batches_replicas()) replicas_.compute_together(replicas_.count);
  arena_bytes_ = allocate(program_, replicas_.wave, replicas_.groups_in_wave, replicas_.count);
  if (!evaluates(program_.options.mode))
    reductions_ = Reductions(program_, device_, comm, placement, groups,
                             {algorithm, program_.options.force_reductions, queued_});
  reserve();
  compile_kernels();
  input_ = queued_ ? make_device_input(device_, program_, replicas_.count) : make_host_input();
}

Kernel* Executor::kernel(const Op& op, int samples) {
  const Op sized = with_samples(op, samples);
  std::unique_ptr<Kernel>& entry = kernels_[op_text(sized)];
  if (entry == nullptr) entry = device_.compile(sized);
  return entry.get();
}

void Executor::compile_kernels() {
  const std::vector<int>& merges = reductions_.gradient_plan().merges;
  const bool merges_gradients =
      std::any_of(merges.begin(), merges.end(), [](int count) { return count > 0; });
  for (const Instruction& instruction : program_.instructions) {
    Step step;
    if (instruction.kind == InstructionKind::compute) {
      const int total = std::accumulate(replicas_.samples.begin(), replicas_.samples.end(), 0);
      try {
        switch (instruction.scope) {
          case Scope::once:
            step.kernels.push_back(kernel(instruction.op, 1));
            break;
          case Scope::group:
            step.kernels.assign(static_cast<std::size_t>(replicas_.count),
                                kernel(instruction.op, 1));
            break;
          case Scope::merged:
            step.kernels.push_back(total > 0 ? kernel(instruction.op, total) : nullptr);
            break;
          case Scope::replica:
            for (const int samples : replicas_.samples)
              step.kernels.push_back(samples > 0 ? kernel(instruction.op, samples) : nullptr);
            if (replicas_.wave > 1 && replicas_.equal_samples() &&
                device_.merges(with_samples(instruction.op, replicas_.samples[0]), replicas_.wave))
              step.merged = kernel(instruction.op, replicas_.wave * replicas_.samples[0]);
            break;
        }
      } catch (const Error&) {
        throw;
      } catch (const std::exception& error) {
        throw std::runtime_error(fmt::format("layer '{}', {}: {}", instruction.layer,
                                             op_text(instruction.op), error.what()));
      }
    }
    if (device_.batches_replicas() && replicas_.wave > 1)
      for (Kernel* kernel : step.kernels)
        if (kernel != nullptr) kernel->expect_repeats(replicas_.wave);
    if (instruction.scope == Scope::replica && merges_gradients)
      for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
           a < instruction.args.size(); ++a) {
        const int index = instruction.args[a];
        const Tensor* tensor =
            index < 0 ? nullptr : &program_.tensors[static_cast<std::size_t>(index)];
        step.merges.push_back(
            tensor != nullptr && tensor->space == Space::gradient
                ? kernel(Add{1, static_cast<int>(tensor->bytes / sizeof(float))}, 1)
                : nullptr);
      }
    steps_.push_back(std::move(step));
  }
}

namespace {

/// Makes `memory` at least `bytes` large. Throws InputError that names it where it does not fit.
template <class Memory>
void grow(Device& device, Memory& memory, std::size_t bytes, const char* what,
          [[maybe_unused]] const std::vector<WeightBlock>& blocks = {}) {
  if (memory.bytes() >= bytes) return;
  try {
    if constexpr (std::is_same_v<Memory, Mirror>)
      memory = Mirror(device, bytes, blocks);
    else
      memory = device.allocate(bytes);
  } catch (const InputError& error) {
    throw InputError(fmt::format("no memory for {}: {}", what, error.what()));
  }
}

}  // namespace

void Executor::reserve() {
  const std::size_t flat = program_.parameter_floats * sizeof(float);
  grow(device_, memory_.parameters, flat, "parameters", program_.weight_blocks);
  grow(device_, memory_.gradients,
       flat * static_cast<std::size_t>(reductions_.gradient_plan().slots), "gradients");
  memory_.gradient_slots = std::max(memory_.gradient_slots, reductions_.gradient_plan().slots);
  const std::size_t running = program_.running_floats * sizeof(float);
  if (program_.options.mode == ProgramMode::training)
    grow(device_, memory_.running, running * replicas_.members.size(), "running statistics");
  grow(device_, memory_.averaged, running, "running statistics");
  const int groups = replicas_.count == 0 ? 0 : replicas_.group_of(replicas_.count - 1) + 1;
  std::vector<WeightBlock> blocks;
  for (std::size_t g = 0; g < static_cast<std::size_t>(groups); ++g)
    for (WeightBlock block : program_.history_blocks) {
      block.offset += g * program_.history_floats;
      blocks.push_back(block);
    }
  grow(device_, memory_.history,
       static_cast<std::size_t>(groups) * program_.history_floats * sizeof(float),
       "what norms keep of earlier updates", blocks);
  grow(device_, memory_.packed, program_.packed_bytes, "packed weights");
  reserve_arena();
}

/// Computes fewer replicas together where all do not fit, if they need not be.
void Executor::reserve_arena() {
  const int least = LocalReplicas::least_wave(program_, replicas_.count);
  for (;;) {
    try {
      return grow(device_, memory_.arena, arena_bytes_, "activations");
    } catch (const InputError&) {
      if (replicas_.wave <= least) throw;
      replicas_.compute_together((replicas_.wave + 1) / 2);
      arena_bytes_ = allocate(program_, replicas_.wave, replicas_.groups_in_wave, replicas_.count);
    }
  }
}

std::string Executor::instruction_name(int index) const {
  const Instruction& i = program_.instructions[static_cast<std::size_t>(index)];
  if (i.kind != InstructionKind::compute) {
    const ReductionSpec& spec = program_.reductions[static_cast<std::size_t>(i.reduction)];
    return "reduction of " + spec.name;
  }
  return fmt::format("layer '{}' ({})", i.layer, op_name(i.op));
}

}  // namespace syncnorm
