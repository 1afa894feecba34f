// Running a program, instruction by instruction.
#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/program/executor.h"
#include "kernels/bfloat16.h"

namespace syncnorm {

void Executor::run_loaded(const StepState& state, bool prepare) {
  for (wave_begin_ = 0; wave_begin_ < local_; wave_begin_ += wave_)
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      run_instruction(i, state, prepare);
      reductions_.progress();
      for (ExecutionHook* hook : hooks_) hook->after(*this, i, state);
    }
}

void Executor::load(const BatchView& batch) {
  batch_ = batch;
  if (device_.host_memory()) return;
  const auto take = [&]<class T>(const T*& values, Buffer& buffer) {
    if (values == nullptr || buffer.bytes() == 0) return;
    device_.copy(buffer.data(), values, buffer.bytes());
    values = buffer.as<T>().data();
  };
  if (batch.pixels != nullptr)
    take_stored_images(batch);
  else
    take(batch_.images, images_);
  take(batch_.labels, labels_);
  take(batch_.sample_ids, sample_ids_);
}

/// The copies run beside the step before, on a queue of their own.
void Executor::take_stored_images(const BatchView& batch) {
  Arrival& arrival = arrivals_[next_arrival_++ % arrivals_.size()];
  const Queue before = device_.use_queue(Queue::input);
  device_.run_after(*arrival.taken);
  device_.copy(arrival.pixels.data(), batch.pixels, arrival.pixels.bytes());
  device_.copy(arrival.maps.data(), batch.maps, arrival.maps.bytes());
  device_.record(*arrival.there);
  device_.use_queue(before);
  device_.run_after(*arrival.there);
  make_images_->run(pointer_list<MakeImages>({.stored = arrival.pixels.as<std::uint8_t>().data(),
                                              .maps = arrival.maps.as<ImageMap>().data(),
                                              .table = image_table_.as<float>().data(),
                                              .images = images_.as<float>().data()}),
                    {});
  device_.record(*arrival.taken);
  batch_.images = images_.as<float>().data();
}

std::vector<double> Executor::doubles(int tensor, int replica) const {
  assert(program_.tensors[static_cast<std::size_t>(tensor)].persistent);
  return doubles_now(tensor, replica);
}

std::vector<double> Executor::doubles_now(int tensor, int replica) const {
  const Tensor& t = program_.tensors[static_cast<std::size_t>(tensor)];
  assert(t.element == 'd');
  std::vector<double> values(t.bytes / sizeof(double));
  device_.copy(values.data(), pointer(tensor, replica), t.bytes);
  device_.synchronize();
  return values;
}

void Executor::zero(int tensor, int replica) {
  device_.zero(pointer(tensor, replica), program_.tensors[static_cast<std::size_t>(tensor)].bytes);
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
  return reinterpret_cast<const double*>(pointer(tensor, 0));
}

bool Executor::runs_in_this_wave(const Instruction& instruction) const {
  if (instruction.kind == InstructionKind::compute) return true;
  const ReductionKind kind =
      program_.reductions[static_cast<std::size_t>(instruction.reduction)].kind;
  const bool of_all_waves = kind == ReductionKind::gradient || kind == ReductionKind::loss;
  return !of_all_waves || wave_begin_ + wave_ >= local_;
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
  switch (instruction.scope) {
    case Scope::once:
      if (prepare && wave_begin_ == 0) call(instruction, kernels[0], 0, state);
      break;
    case Scope::merged:
      if (kernels[0] != nullptr)
        call(instruction, kernels[0], 0, state);
      else
        contribute_nothing(instruction, 0);
      break;
    case Scope::group:
      for (int r = wave_begin_; r < wave_end(); ++r)
        if (r == wave_begin_ || group_of(r) != group_of(r - 1)) {
          call(instruction, kernels[0], r, state);
          tell_ran(index, r);
        }
      break;
    case Scope::replica:
      for (int r = wave_begin_; r < wave_end(); ++r) {
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

std::byte* Executor::pointer(int index, int replica) const {
  const Tensor& tensor = program_.tensors[static_cast<std::size_t>(index)];
  std::byte* base = nullptr;
  // Batches are only read; kernels take one kind of pointer for all arguments.
  const auto batch = [](const auto* data) {
    return reinterpret_cast<std::byte*>(
        const_cast<std::remove_const_t<std::remove_pointer_t<decltype(data)>>*>(data));
  };
  switch (tensor.space) {
    case Space::arena:
      base = memory_.arena.data();
      break;
    case Space::packed:
      base = memory_.packed.data();
      break;
    case Space::parameter:
      base = memory_.parameters.device<std::byte>();
      break;
    case Space::gradient: {
      const auto slot = reductions_.gradient_plan().slot[static_cast<std::size_t>(replica)];
      return reinterpret_cast<std::byte*>(
          gradient_pointer(static_cast<std::size_t>(slot), tensor.offset / sizeof(float)));
    }
    case Space::running:
      base = memory_.running.device<std::byte>();
      break;
    case Space::averaged:
      base = memory_.averaged.device<std::byte>();
      break;
    case Space::image:
      base = batch(batch_.images);
      break;
    case Space::label:
      base = batch(batch_.labels);
      break;
    case Space::sample_id:
      base = batch(batch_.sample_ids);
      break;
  }
  int copy = 0;
  switch (tensor.per) {
    case Per::once:
      break;
    case Per::wave_replica:
      copy = replica - wave_begin_;
      break;
    case Per::wave_group:
      copy = group_of(replica) - group_of(wave_begin_);
      break;
    case Per::replica:
      copy = replica;
      break;
    case Per::group:
      copy = group_of(replica);
      break;
  }
  return base + tensor.offset + static_cast<std::size_t>(copy) * tensor.stride;
}

float* Executor::gradient_pointer(std::size_t slot, std::size_t offset) const {
  return memory_.gradients.as<float>().data() + slot * program_.parameter_floats + offset;
}

void Executor::call(const Instruction& instruction, Kernel* kernel, int replica,
                    const StepState& state) {
  std::array<void*, kMostOperands> args;
  for (std::size_t a = 0; a < instruction.args.size(); ++a)
    args[a] = instruction.args[a] < 0 ? nullptr : pointer(instruction.args[a], replica);
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

void Executor::put_nan(int tensor) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr auto kNarrow = static_cast<float>(kNan);
  std::byte* buffers = pointer(tensor, wave_begin_);
  if (program_.tensors[static_cast<std::size_t>(tensor)].element == 'd')
    device_.write(buffers, &kNan, sizeof kNan);
  else
    device_.write(buffers, &kNarrow, sizeof kNarrow);
}

void Executor::put_nan(const ReductionSpec& reduction) {
  if (reduction.kind != ReductionKind::gradient) return put_nan(reduction.leaf);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  device_.write(gradient_pointer(0, reduction.offset), &kNan, sizeof kNan);
}

void Executor::contribute_nothing(const Instruction& instruction, int replica) {
  for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
       a < instruction.args.size(); ++a) {
    if (instruction.args[a] < 0) continue;
    const Tensor& tensor = program_.tensors[static_cast<std::size_t>(instruction.args[a])];
    device_.zero(pointer(instruction.args[a], replica), tensor.bytes);
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
      float* sum = gradient_pointer(top - 1, offset);
      merges[o]->run(pointer_list<Add>({.a = sum, .b = gradient_pointer(top, offset), .sum = sum}),
                     state);
    }
  }
}

/// Statistics are summed over the replicas of a group, losses over all, and gradients are folded
/// over this rank's replicas by then.
void Executor::start_reduction(int index) {
  const ReductionSpec& spec = program_.reductions[static_cast<std::size_t>(index)];
  reductions_.start(index, [&](int group) -> ReductionBuffers {
    if (spec.kind == ReductionKind::gradient) {
      float* first = gradient_pointer(0, spec.offset);
      return {first, program_.parameter_floats * sizeof(float), first};
    }
    const bool loss = spec.kind == ReductionKind::loss;
    const int first = loss ? 0 : group_members_[static_cast<std::size_t>(group)].begin;
    const Tensor& leaf = program_.tensors[static_cast<std::size_t>(spec.leaf)];
    return {pointer(spec.leaf, first), leaf.stride, pointer(spec.result, first)};
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
  for (wave_begin_ = 0; wave_begin_ < local_; wave_begin_ += wave_)
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& instruction = program_.instructions[i];
      if (instruction.kind != InstructionKind::compute || !counts(instruction.op)) continue;
      const std::vector<Kernel*>& kernels = steps_[i].kernels;
      if (instruction.scope == Scope::merged) {
        if (kernels[0] != nullptr) call(instruction, kernels[0], 0, state);
        continue;
      }
      for (int r = wave_begin_; r < wave_end(); ++r)
        if (Kernel* kernel = kernels[static_cast<std::size_t>(r)]; kernel != nullptr)
          call(instruction, kernel, r, state);
    }
}

std::vector<float> Executor::floats(int index, int replica) const {
  const Tensor& tensor = program_.tensors[static_cast<std::size_t>(index)];
  assert(tensor.element == 'f' || tensor.element == 'h');
  std::vector<std::byte> bytes(tensor.bytes);
  device_.copy(bytes.data(), pointer(index, replica), tensor.bytes);
  device_.synchronize();
  if (tensor.element == 'f') {
    const auto* values = reinterpret_cast<const float*>(bytes.data());
    return {values, values + tensor.bytes / sizeof(float)};
  }
  const auto* narrow = reinterpret_cast<const BFloat16*>(bytes.data());
  std::vector<float> values(tensor.bytes / sizeof(BFloat16));
  std::transform(narrow, narrow + values.size(), values.begin(),
                 [](BFloat16 value) { return to_float(value); });
  return values;
}

void Executor::run_forward(StepState state, const BatchView& batch, const SeeFunction& see) {
  state.update_running = false;
  load(batch);
  for (wave_begin_ = 0; wave_begin_ < local_; wave_begin_ += wave_)
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& instruction = program_.instructions[i];
      const bool loss = instruction.kind != InstructionKind::compute &&
                        instruction.reduction == program_.loss_reduction;
      if (instruction.pass == Pass::backward || loss) continue;
      run_instruction(i, state, true);
      if (instruction.kind != InstructionKind::compute) continue;
      for (int r = wave_begin_; r < wave_end(); ++r) see(i, r);
    }
  wave_begin_ = 0;
}

}  // namespace syncnorm
