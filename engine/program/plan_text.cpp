// Formats instructions as text.
#include "engine/program/plan_text.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace syncnorm {
namespace {

std::string bytes_text(std::size_t bytes) {
  if (bytes >= (std::size_t{10} << 20)) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= (std::size_t{10} << 10)) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

const char* scope_text(Scope scope) {
  switch (scope) {
    case Scope::once:
      return "once";
    case Scope::replica:
      return "replica";
    case Scope::group:
      return "group";
    case Scope::merged:
      return "merged";
  }
  return "?";
}

}  // namespace

std::string plan_text(const Executor& executor, const Memory& memory) {
  const Program& program = executor.program();
  std::string text = fmt::format("{:>4}  {:<8} {:<58} {:>9} {:>9}  {}\n", "#", "for each",
                                 "layer: operation", "reads", "writes", "under");
  std::vector<std::string> in_flight;
  int number = 0;
  for (const Instruction& i : program.instructions) {
    if (i.kind != InstructionKind::compute) {
      const ReductionSpec& spec = program.reductions[static_cast<std::size_t>(i.reduction)];
      const bool f32 = spec.kind == ReductionKind::gradient;
      const bool start = i.kind == InstructionKind::reduce_start;
      text += fmt::format("{:>4}  {:<8} {} {}, {} {} values, {}\n", number++,
                          start ? "start" : "wait", start ? ">>" : "<<", spec.name, spec.count,
                          f32 ? "f32" : "f64", bytes_text(spec.count * (f32 ? 4 : 8)));
      if (start)
        in_flight.push_back(spec.name);
      else
        std::erase(in_flight, spec.name);
      continue;
    }
    std::size_t read = 0, written = 0;
    for (std::size_t a = 0; a < i.args.size(); ++a) {
      if (i.args[a] < 0) continue;
      const Tensor& tensor = program.tensors[static_cast<std::size_t>(i.args[a])];
      (a < static_cast<std::size_t>(i.first_output) ? read : written) += tensor.bytes;
    }
    text += fmt::format("{:>4}  {:<8} {:<58} {:>9} {:>9}  {}\n", number++, scope_text(i.scope),
                        i.layer + ": " + op_text(i.op), bytes_text(read), bytes_text(written),
                        fmt::join(in_flight, ", "));
  }
  const std::size_t parameters = program.parameter_floats * sizeof(float);
  text += fmt::format(
      "\narena            {:>9}  {} of {} local replicas computed together\n"
      "parameters       {:>9}  {} values\n"
      "gradients        {:>9}  {} copies (slots of the fold)\n"
      "packed weights   {:>9}\n"
      "running          {:>9}\n"
      "history of norms {:>9}\n",
      bytes_text(executor.arena_bytes()), executor.replicas().wave, executor.replicas().count,
      bytes_text(parameters), program.parameter_floats, bytes_text(memory.gradients.bytes()),
      memory.gradient_slots, bytes_text(memory.packed.bytes()), bytes_text(memory.running.bytes()),
      bytes_text(memory.history.bytes()));
  return text;
}

}  // namespace syncnorm
