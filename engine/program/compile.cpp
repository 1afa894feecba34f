// The compiler: runs its passes in order.
#include "engine/program/compile.h"

#include <cassert>

#include <fmt/format.h>

#include "engine/program/passes.h"
#include "kernels/bfloat16.h"

namespace syncnorm {
namespace {

void add_parameter_tensors(Emission& e) {
  for (const Parameter& parameter : e.graph.parameters) {
    const std::size_t bytes = parameter.count() * sizeof(float);
    e.program.parameter_counts.push_back(parameter.count());
    e.parameter_tensor.push_back(e.add_tensor(parameter.name, bytes, Per::once, Space::parameter));
    e.gradient_tensor.push_back(
        e.add_tensor(parameter.name + " gradient", bytes, Per::once, Space::gradient));
  }
}

/// Assigns offsets outside the arena: parameters by layout, batches and running statistics by
/// stride.
void place_outside_arena(Emission& e) {
  Program& program = e.program;
  for (std::size_t p = 0; p < program.parameter_offset.size(); ++p)
    for (const int tensor : {e.parameter_tensor[p], e.gradient_tensor[p]})
      program.tensors[static_cast<std::size_t>(tensor)].offset =
          program.parameter_offset[p] * sizeof(float);
  for (const auto& [tensor, parameter] : e.narrowed_weights)
    program.tensors[static_cast<std::size_t>(tensor)].offset =
        program.parameter_offset[static_cast<std::size_t>(parameter)] * sizeof(BFloat16);
  for (Tensor& tensor : program.tensors) {
    if (tensor.space == Space::running) tensor.stride = program.running_floats * sizeof(float);
    if (tensor.space == Space::history) tensor.stride = program.history_floats * sizeof(float);
    if (tensor.space == Space::image || tensor.space == Space::label ||
        tensor.space == Space::mask || tensor.space == Space::sample_id)
      tensor.stride = tensor.bytes;
  }
}

/// Lists the weights of convolutions, which the device has channels last.
void list_weight_blocks(const Graph& graph, Program& program) {
  for (std::size_t p = 0; p < graph.parameters.size(); ++p) {
    const std::vector<int>& shape = graph.parameters[p].shape;
    if (graph.parameters[p].role == ParameterRole::weight && shape.size() == 4)
      program.weight_blocks.push_back(
          {program.parameter_offset[p], shape[0], shape[1], shape[2] * shape[3]});
  }
}

}  // namespace

Program compile_program(const Graph& graph, Device& device, const ProgramOptions& options,
                        std::span<const std::size_t> layout) {
  Program program;
  program.options = options;
  program.has_batch_norms = graph.has_norms_over(StatisticsOver::batch);
  std::vector<int> alias;
  Emission emission{graph, device, program, {}, {}, {}, {}, {}, {}, {}, {}, -1};
  emission.units = lower(graph, options, alias);
  fuse(graph, emission.units);
  emission.messages = share(graph, program, emission.units);
  add_parameter_tensors(emission);
  emit_forward(emission);
  overlap_forward(program);
  if (options.mode == ProgramMode::training) {
    emit_backward(emission);
    schedule(emission);
  }
  if (!layout.empty()) {
    program.parameter_offset.assign(layout.begin(), layout.end());
    program.parameter_floats = 0;
    program.trained_floats = 0;
    for (std::size_t p = 0; p < program.parameter_counts.size(); ++p) {
      const std::size_t padded = emission.padded(program.parameter_counts[p]);
      program.parameter_floats += padded;
      if (emission.trained(static_cast<int>(p))) program.trained_floats += padded;
    }
  }
  assert(program.parameter_offset.size() == graph.parameters.size());
  place_outside_arena(emission);
  if (device.channels_last_weights()) list_weight_blocks(graph, program);
  return program;
}

std::vector<std::size_t> consecutive_layout(const Graph& graph) {
  std::vector<std::size_t> layout;
  std::size_t at = 0;
  for (const Parameter& parameter : graph.parameters) {
    layout.push_back(at);
    at += parameter.count();
  }
  return layout;
}

std::string program_text(const Program& program) {
  std::string text;
  for (const Instruction& i : program.instructions) {
    if (i.kind == InstructionKind::compute) {
      text += fmt::format("{}: {}\n", i.layer, op_text(i.op));
    } else {
      const ReductionSpec& spec = program.reductions[static_cast<std::size_t>(i.reduction)];
      text += fmt::format("{} {} {}\n", spec.name,
                          i.kind == InstructionKind::reduce_start ? "start" : "wait", spec.count);
    }
  }
  return text;
}

}  // namespace syncnorm
