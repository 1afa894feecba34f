// Running a program, instruction by instruction.
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "engine/program/executor.h"
#include "kernels/error.h"

namespace syncnorm {
namespace {

constexpr std::size_t kMostArgs = 13;

using Clock = std::chrono::steady_clock;
double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

void Executor::run(const StepState& state, const BatchView& batch, bool prepare, double vote) {
  batch_ = batch;
  for (wave_begin_ = 0; wave_begin_ < local_; wave_begin_ += wave_)
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      const auto begin = profile_ ? Clock::now() : Clock::time_point();
      run_instruction(i, state, prepare, vote);
      progress();
      if (profile_) instruction_seconds_[i] += since(begin);
    }
}

std::span<double> Executor::doubles(int tensor, int replica) {
  const Tensor& t = program_.tensors[static_cast<std::size_t>(tensor)];
  assert(t.persistent && t.element == 'd');
  return {reinterpret_cast<double*>(pointer(tensor, replica)), t.bytes / sizeof(double)};
}

std::span<const double> Executor::loss() const {
  const int tensor =
      program_.loss_reduction >= 0
          ? program_.reductions[static_cast<std::size_t>(program_.loss_reduction)].result
          : program_.loss_tensor;
  return {reinterpret_cast<const double*>(pointer(tensor, 0)), kLossValues};
}

bool Executor::runs_in_this_wave(const Instruction& instruction) const {
  if (instruction.kind == InstructionKind::compute) return true;
  const ReductionKind kind =
      program_.reductions[static_cast<std::size_t>(instruction.reduction)].kind;
  const bool of_all_waves = kind == ReductionKind::gradient || kind == ReductionKind::loss;
  return !of_all_waves || wave_begin_ + wave_ >= local_;
}

void Executor::run_instruction(std::size_t index, const StepState& state, bool prepare,
                               double vote) {
  const Instruction& instruction = program_.instructions[index];
  if (!runs_in_this_wave(instruction)) return;
  if (instruction.kind == InstructionKind::reduce_start) return start_reduction(instruction, vote);
  if (instruction.kind == InstructionKind::reduce_wait) return wait_reduction(instruction);
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
          if (tap_ != nullptr) show_statistics(index, r);
        }
      break;
    case Scope::replica:
      for (int r = wave_begin_; r < wave_end(); ++r) {
        Kernel* kernel = kernels[static_cast<std::size_t>(r)];
        if (kernel != nullptr)
          call(instruction, kernel, r, state);
        else
          contribute_nothing(instruction, r);
        merge_gradients(instruction, r);
        if (tap_ != nullptr) show_statistics(index, r);
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
      base = memory_.parameters.data();
      break;
    case Space::gradient: {
      const auto slot = gradient_plan_.slot[static_cast<std::size_t>(replica)];
      return reinterpret_cast<std::byte*>(
          gradient_pointer(static_cast<std::size_t>(slot), tensor.offset / sizeof(float)));
    }
    case Space::running:
      base = memory_.running.data();
      break;
    case Space::averaged:
      base = memory_.averaged.data();
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
  std::array<void*, kMostArgs> args;
  assert(instruction.args.size() <= kMostArgs);
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

void Executor::show_statistics(std::size_t index, int replica) const {
  const Instruction& instruction = program_.instructions[index];
  const auto sums = [&](int tensor) {
    const Tensor& t = program_.tensors[static_cast<std::size_t>(tensor)];
    return std::span<const double>(reinterpret_cast<const double*>(pointer(tensor, replica)),
                                   t.bytes / sizeof(double));
  };
  if (std::holds_alternative<BatchMoments>(instruction.op))
    tap_->replica_sums(index, sums(instruction.args[1]));
  else if (std::holds_alternative<BatchFinalize>(instruction.op))
    tap_->group_sums(index, sums(instruction.args[0]));
}

void Executor::contribute_nothing(const Instruction& instruction, int replica) {
  for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
       a < instruction.args.size(); ++a) {
    if (instruction.args[a] < 0) continue;
    const Tensor& tensor = program_.tensors[static_cast<std::size_t>(instruction.args[a])];
    std::memset(pointer(instruction.args[a], replica), 0, tensor.bytes);
  }
}

void Executor::merge_gradients(const Instruction& instruction, int replica) {
  const auto index = static_cast<std::size_t>(replica);
  for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
       a < instruction.args.size(); ++a) {
    if (instruction.args[a] < 0) continue;
    const Tensor& tensor = program_.tensors[static_cast<std::size_t>(instruction.args[a])];
    if (tensor.space != Space::gradient) continue;
    auto top = static_cast<std::size_t>(gradient_plan_.slot[index]);
    for (int m = 0; m < gradient_plan_.merges[index]; ++m, --top)
      combine_into(Combine::sum, gradient_pointer(top - 1, tensor.offset / sizeof(float)),
                   gradient_pointer(top, tensor.offset / sizeof(float)),
                   tensor.bytes / sizeof(float));
  }
}

double& Executor::time_of(ReductionKind kind) {
  switch (kind) {
    case ReductionKind::forward_statistics:
      return times_.statistics_forward;
    case ReductionKind::backward_statistics:
      return times_.statistics_backward;
    case ReductionKind::gradient:
      return times_.gradient;
    case ReductionKind::loss:
      break;
  }
  return times_.loss;
}

void Executor::fly(ReductionInFlight& reduction, int spec) {
  ++reducing_[static_cast<std::size_t>(spec)].in_flight;
  if (reduction.test())
    landed(spec);
  else
    flying_.push_back({&reduction, spec});
}

void Executor::landed(int spec) {
  Reducing& reducing = reducing_[static_cast<std::size_t>(spec)];
  if (--reducing.in_flight == 0)
    timings_[static_cast<std::size_t>(spec)].in_flight += since(reducing.started);
}

void Executor::start_folded(Reduction<double>& reduction, int index, Interval replicas) {
  const ReductionSpec& spec = program_.reductions[static_cast<std::size_t>(index)];
  const FoldPlan& plan = reduction.local_plan();
  std::size_t height = 0;
  for (int r = replicas.begin; r < replicas.end; ++r) {
    fold_stack_[height++] = reinterpret_cast<double*>(pointer(spec.leaf, r));
    const int merges = plan.merges[static_cast<std::size_t>(r - replicas.begin)];
    for (int m = 0; m < merges; ++m, --height)
      combine_into(spec.combine, fold_stack_[height - 2], fold_stack_[height - 1], spec.count);
  }
  nodes_.assign(fold_stack_.begin(), fold_stack_.begin() + static_cast<long>(height));
  reduction.start(nodes_, reinterpret_cast<double*>(pointer(spec.result, replicas.begin)));
  fly(reduction, index);
}

void Executor::start_reduction(const Instruction& instruction, double vote) {
  const auto begin = Clock::now();
  const int index = instruction.reduction;
  const ReductionSpec& spec = program_.reductions[static_cast<std::size_t>(index)];
  Reducing& reducing = reducing_[static_cast<std::size_t>(index)];
  reducing.started = begin;
  if (spec.kind == ReductionKind::gradient) {
    gradient_nodes_.clear();
    for (std::size_t n = 0; n < gradient_plan_.nodes.size(); ++n)
      gradient_nodes_.push_back(gradient_pointer(n, spec.offset));
    reducing.gradient->start(gradient_nodes_, gradient_pointer(0, spec.offset));
    fly(*reducing.gradient, index);
  } else if (spec.kind == ReductionKind::loss) {
    for (int r = 0; r < local_; ++r) {
      auto* values = reinterpret_cast<double*>(pointer(spec.leaf, r));
      values[2] = r == 0 ? vote : 0.0;
      values[3] = 0.0;
    }
    start_folded(*reducing.by_group[0], index, {0, local_});
  } else {
    for (std::size_t g = 0; g < group_members_.size(); ++g)
      start_folded(*reducing.by_group[g], index, group_members_[g]);
  }
  add_exposed(index, since(begin));
  if (!overlap_) wait_reduction(instruction);
}

void Executor::wait_reduction(const Instruction& instruction) {
  const auto begin = Clock::now();
  Reducing& reducing = reducing_[static_cast<std::size_t>(instruction.reduction)];
  if (reducing.gradient != nullptr) reducing.gradient->wait();
  for (const auto& reduction : reducing.by_group) reduction->wait();
  progress();  // takes what has landed off the list
  add_exposed(instruction.reduction, since(begin));
}

void Executor::add_exposed(int spec, double seconds) {
  timings_[static_cast<std::size_t>(spec)].exposed += seconds;
  time_of(program_.reductions[static_cast<std::size_t>(spec)].kind) += seconds;
}

void Executor::progress() {
  std::erase_if(flying_, [this](const Flying& f) {
    if (!f.reduction->test()) return false;
    landed(f.spec);
    return true;
  });
}

void Executor::run_limit(const StepState& state, const BatchView& batch) {
  const auto counts = [](const Op& op) {
    return std::holds_alternative<ConvForward>(op) || std::holds_alternative<ConvDgrad>(op) ||
           std::holds_alternative<ConvWgrad>(op) || std::holds_alternative<LinearForward>(op) ||
           std::holds_alternative<LinearDgrad>(op) || std::holds_alternative<LinearWgrad>(op);
  };
  batch_ = batch;
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

bool Executor::wrote_nonfinite(const Instruction& instruction, int replica) const {
  const auto any = [](const auto* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      if (!std::isfinite(values[i])) return true;
    return false;
  };
  for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
       a < instruction.args.size(); ++a) {
    if (instruction.args[a] < 0) continue;
    const Tensor& tensor = program_.tensors[static_cast<std::size_t>(instruction.args[a])];
    const std::byte* data = pointer(instruction.args[a], replica);
    if (tensor.space != Space::arena) continue;
    if (tensor.element == 'f' &&
        any(reinterpret_cast<const float*>(data), tensor.bytes / sizeof(float)))
      return true;
    if (tensor.element == 'd' &&
        any(reinterpret_cast<const double*>(data), tensor.bytes / sizeof(double)))
      return true;
  }
  return false;
}

int Executor::find_nonfinite(StepState state, const BatchView& batch) {
  state.update_running = false;
  batch_ = batch;
  std::memset(memory_.arena.data(), 0, memory_.arena.bytes());
  int first = -1;
  for (wave_begin_ = 0; wave_begin_ < local_; wave_begin_ += wave_)
    for (std::size_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& instruction = program_.instructions[i];
      const bool loss = instruction.kind != InstructionKind::compute &&
                        instruction.reduction == program_.loss_reduction;
      if (instruction.pass == Pass::backward || loss) continue;
      run_instruction(i, state, true, 0.0);
      if (instruction.kind != InstructionKind::compute) continue;
      const int index = static_cast<int>(i);
      if (first >= 0 && first <= index) continue;
      for (int r = wave_begin_; r < wave_end(); ++r)
        if (first < 0 || index < first)
          if (wrote_nonfinite(instruction, r)) first = index;
    }
  wave_begin_ = 0;
  return first;
}

}  // namespace syncnorm
