// Scheduling: decides what runs under which reduction, and when each gradient bucket is sent.
//
// A statistics reduction of the backward pass starts as soon as its sums are ready. The weight
// gradients of the layers above do not depend on it, so they are postponed until it has started,
// and run before its wait. All ranks start reductions in this one order.
#include <algorithm>

#include <fmt/format.h>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

bool starts_backward_statistics(const Program& program, const Instruction& instruction) {
  return instruction.kind == InstructionKind::reduce_start &&
         program.reductions[static_cast<std::size_t>(instruction.reduction)].kind ==
             ReductionKind::backward_statistics;
}

/// Moves deferrable instructions after the next start of a backward statistics reduction.
void defer_weight_gradients(Program& program) {
  std::vector<Instruction>& list = program.instructions;
  long last_start = -1;
  for (std::size_t i = 0; i < list.size(); ++i)
    if (starts_backward_statistics(program, list[i])) last_start = static_cast<long>(i);
  std::vector<Instruction> ordered, held;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].deferrable && static_cast<long>(i) < last_start) {
      held.push_back(std::move(list[i]));
      continue;
    }
    const bool start = starts_backward_statistics(program, list[i]);
    ordered.push_back(std::move(list[i]));
    if (!start) continue;
    for (Instruction& instruction : held) ordered.push_back(std::move(instruction));
    held.clear();
  }
  list = std::move(ordered);
}

/// Assigns parameters to the flat buffers in the order of the last write to their gradients, so
/// that buckets are contiguous and start early.
void lay_out_parameters(Emission& e) {
  Program& program = e.program;
  std::vector<int> parameter_of(program.tensors.size(), -1);
  for (std::size_t p = 0; p < e.gradient_tensor.size(); ++p)
    parameter_of[static_cast<std::size_t>(e.gradient_tensor[p])] = static_cast<int>(p);
  constexpr std::size_t kNowhere = SIZE_MAX;
  program.parameter_offset.assign(e.gradient_tensor.size(), kNowhere);
  std::size_t at = 0;
  for (const Instruction& instruction : program.instructions)
    for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
         a < instruction.args.size(); ++a) {
      const int tensor = instruction.args[a];
      const int p = tensor < 0 ? -1 : parameter_of[static_cast<std::size_t>(tensor)];
      if (p < 0) continue;
      program.parameter_offset[static_cast<std::size_t>(p)] = at;
      at += e.padded(program.parameter_counts[static_cast<std::size_t>(p)]);
    }
  program.trained_floats = at;
  for (std::size_t p = 0; p < program.parameter_offset.size(); ++p) {
    if (program.parameter_offset[p] != kNowhere) continue;
    program.parameter_offset[p] = at;  // frozen parameters come last
    at += e.padded(program.parameter_counts[p]);
  }
  program.parameter_floats = at;
}

struct Bucket {
  std::size_t begin = 0, end = 0;  // floats
  std::size_t ready = 0;           // index of the last instruction that writes into it
};

/// Returns the size of the bucket at which `left` of `total` bytes remain: a third of them, within
/// limits. Most of the gradient is then sent during computation, and the last bucket, which nothing
/// hides, is small.
std::size_t bucket_bytes(std::size_t total, std::size_t left, std::size_t most) {
  constexpr std::size_t kLeast = std::size_t{64} << 10;
  return std::min(most, std::max({left / 3, total / 32, kLeast}));
}

/// Cuts the flat gradient into buckets at parameter boundaries, in backward order.
std::vector<Bucket> cut_buckets(const Emission& e) {
  const Program& program = e.program;
  const std::size_t total = program.trained_floats * sizeof(float);
  std::vector<std::pair<std::size_t, std::size_t>> ends;  // end offset, writing instruction
  for (std::size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& instruction = program.instructions[i];
    for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
         a < instruction.args.size(); ++a)
      for (std::size_t p = 0; p < e.gradient_tensor.size(); ++p)
        if (instruction.args[a] == e.gradient_tensor[p])
          ends.emplace_back(program.parameter_offset[p] + e.padded(program.parameter_counts[p]), i);
  }
  std::sort(ends.begin(), ends.end());
  std::vector<Bucket> buckets;
  Bucket open;
  for (const auto& [end, writer] : ends) {
    open.end = end;
    open.ready = std::max(open.ready, writer);
    const std::size_t limit = bucket_bytes(
        total, total - open.begin * sizeof(float),
        buckets.empty() ? program.options.first_bucket_bytes : program.options.bucket_bytes);
    if ((open.end - open.begin) * sizeof(float) < limit && end != program.trained_floats) continue;
    buckets.push_back(open);
    open = {end, end, 0};
  }
  return buckets;
}

Instruction reduction_step(InstructionKind kind, int reduction, const std::string& name) {
  Instruction instruction;
  instruction.kind = kind;
  instruction.pass = Pass::backward;
  instruction.layer = name;
  instruction.reduction = reduction;
  return instruction;
}

}  // namespace

void schedule(Emission& e) {
  Program& program = e.program;
  defer_weight_gradients(program);
  lay_out_parameters(e);
  const std::vector<Bucket> buckets = cut_buckets(e);
  std::vector<Instruction> ordered;
  std::vector<int> bucket_reductions;
  for (std::size_t b = 0; b < buckets.size(); ++b) {
    ReductionSpec spec;
    spec.kind = ReductionKind::gradient;
    spec.name = fmt::format("gradient bucket {}", b + 1);
    spec.offset = buckets[b].begin;
    spec.count = buckets[b].end - buckets[b].begin;
    bucket_reductions.push_back(static_cast<int>(program.reductions.size()));
    program.reductions.push_back(spec);
  }
  for (std::size_t i = 0; i < program.instructions.size(); ++i) {
    ordered.push_back(std::move(program.instructions[i]));
    for (std::size_t b = 0; b < buckets.size(); ++b)
      if (buckets[b].ready == i)
        ordered.push_back(reduction_step(
            InstructionKind::reduce_start, bucket_reductions[b],
            program.reductions[static_cast<std::size_t>(bucket_reductions[b])].name));
  }
  for (const int reduction : bucket_reductions)
    ordered.push_back(reduction_step(InstructionKind::reduce_wait, reduction,
                                     program.reductions[static_cast<std::size_t>(reduction)].name));
  Instruction loss = reduction_step(InstructionKind::reduce_wait, program.loss_reduction, "loss");
  loss.args = {program.reductions[static_cast<std::size_t>(program.loss_reduction)].leaf,
               program.reductions[static_cast<std::size_t>(program.loss_reduction)].result};
  loss.first_output = 1;
  ordered.push_back(std::move(loss));
  program.instructions = std::move(ordered);
}

}  // namespace syncnorm
