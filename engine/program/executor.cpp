// Set-up of an executor: kernels, reductions, memory. Running is in run.cpp.
#include "engine/program/executor.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/program/passes.h"

namespace syncnorm {

Executor::Executor(Program program, Device& device, Communicator& comm, const Placement& placement,
                   const StatisticsGroups* groups, ReductionAlgorithm algorithm, Memory& memory,
                   bool force_reductions)
    : program_(std::move(program)), device_(device), comm_(comm), memory_(memory) {
  const Interval own = placement.block(comm.rank());
  local_ = own.size();
  const ProgramOptions& options = program_.options;
  for (int r = own.begin; r < own.end; ++r)
    samples_.push_back(options.replica_samples.empty()
                           ? options.batch_per_replica
                           : options.replica_samples[static_cast<std::size_t>(r)]);
  const int size = groups != nullptr ? groups->size() : 1;
  for (int r = own.begin; r < own.end; ++r) {
    const int group = r / size - own.begin / size;
    group_of_.push_back(group);
    if (group == static_cast<int>(group_members_.size()))
      group_members_.push_back({r - own.begin, r - own.begin});
    group_members_.back().end = r - own.begin + 1;
  }
  const bool together = program_.statistics_cross_replicas || options.merge_replicas;
  wave_ = together ? local_ : 1;
  groups_in_wave_ = together ? static_cast<int>(group_members_.size()) : 1;
  arena_bytes_ = allocate(program_, wave_, groups_in_wave_, local_);
  if (options.mode != ProgramMode::evaluation)
    reductions_ =
        Reductions(program_, device_, comm_, placement, groups, {algorithm, force_reductions});
  compile_kernels();
  reserve();
}

Kernel* Executor::kernel(const Op& op, int samples) {
  const Op sized = with_samples(op, samples);
  std::unique_ptr<Kernel>& entry = kernels_[op_text(sized)];
  if (entry == nullptr) entry = device_.compile(sized);
  return entry.get();
}

void Executor::compile_kernels() {
  for (const Instruction& instruction : program_.instructions) {
    Step step;
    if (instruction.kind == InstructionKind::compute) {
      const int total = std::accumulate(samples_.begin(), samples_.end(), 0);
      try {
        switch (instruction.scope) {
          case Scope::once:
          case Scope::group:
            step.kernels.push_back(kernel(instruction.op, 1));
            break;
          case Scope::merged:
            step.kernels.push_back(total > 0 ? kernel(instruction.op, total) : nullptr);
            break;
          case Scope::replica:
            for (const int samples : samples_)
              step.kernels.push_back(samples > 0 ? kernel(instruction.op, samples) : nullptr);
            break;
        }
      } catch (const Error&) {
        throw;
      } catch (const std::exception& error) {
        throw std::runtime_error(fmt::format("layer '{}', {}: {}", instruction.layer,
                                             op_text(instruction.op), error.what()));
      }
    }
    if (instruction.scope == Scope::replica && reductions_.gradient_plan().slots > 1)
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

void Executor::reserve() {
  const auto grow = [&]<class Memory>(Memory& memory, std::size_t bytes, const char* what) {
    if (memory.bytes() >= bytes) return;
    try {
      if constexpr (std::is_same_v<Memory, Mirror>)
        memory = Mirror(device_, bytes);
      else
        memory = device_.allocate(bytes);
    } catch (const InputError& error) {
      throw InputError(fmt::format("no memory for {}: {}", what, error.what()));
    }
  };
  const std::size_t flat = program_.parameter_floats * sizeof(float);
  grow(memory_.parameters, flat, "parameters");
  grow(memory_.gradients, flat * static_cast<std::size_t>(reductions_.gradient_plan().slots),
       "gradients");
  memory_.gradient_slots = std::max(memory_.gradient_slots, reductions_.gradient_plan().slots);
  const std::size_t running = program_.running_floats * sizeof(float);
  if (program_.options.mode == ProgramMode::training)
    grow(memory_.running, running * group_members_.size(), "running statistics");
  grow(memory_.averaged, running, "running statistics");
  grow(memory_.packed, program_.packed_bytes, "packed weights");
  grow(memory_.arena, arena_bytes_, "activations");
  if (device_.host_memory()) return;
  for (const Tensor& tensor : program_.tensors) {
    const std::size_t bytes = tensor.bytes * static_cast<std::size_t>(local_);
    if (tensor.space == Space::image) grow(images_, bytes, "images");
    if (tensor.space == Space::label) grow(labels_, bytes, "labels");
    if (tensor.space == Space::sample_id) grow(sample_ids_, bytes, "labels");
  }
}

void Executor::make_images_there(const MakeImages& shape, std::span<const float> table) {
  MakeImages op = shape;
  op.samples = local_ * program_.options.batch_per_replica;
  make_images_ = device_.compile(op);
  image_table_ = device_.allocate(table.size_bytes());
  device_.copy(image_table_.data(), table.data(), table.size_bytes());
  const auto samples = static_cast<std::size_t>(op.samples);
  for (Arrival& arrival : arrivals_) {
    arrival.pixels = device_.allocate(samples * static_cast<std::size_t>(op.height) *
                                      static_cast<std::size_t>(op.width) *
                                      static_cast<std::size_t>(op.channels));
    arrival.maps = device_.allocate(samples * sizeof(ImageMap));
    arrival.there = device_.make_event();
    arrival.taken = device_.make_event();
  }
  device_.synchronize();
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
