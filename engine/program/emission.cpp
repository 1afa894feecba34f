// Helpers of the emitting passes: adding tensors and instructions, and shapes of operations.
#include <fmt/format.h>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

constexpr std::size_t kAlignment = 64;  // of weights, in bytes

}  // namespace

int Emission::add_tensor(std::string tensor_name, std::size_t bytes, Per per, Space space,
                         char element) {
  Tensor tensor;
  tensor.name = std::move(tensor_name);
  tensor.space = space;
  tensor.bytes = bytes;
  tensor.per = per;
  tensor.element = element;
  program.tensors.push_back(std::move(tensor));
  return static_cast<int>(program.tensors.size()) - 1;
}

int Emission::add_persistent(std::string tensor_name, std::size_t bytes, Per per, char element) {
  const int tensor = add_tensor(std::move(tensor_name), bytes, per, Space::arena, element);
  program.tensors.back().persistent = true;
  return tensor;
}

int Emission::add_view(int whole, std::string view_name, std::size_t bytes, std::size_t within) {
  const Tensor& parent = program.tensors[static_cast<std::size_t>(whole)];
  const int view =
      add_tensor(std::move(view_name), bytes, parent.per, parent.space, parent.element);
  program.tensors.back().whole = whole;
  program.tensors.back().within = within;
  return view;
}

int Emission::add_values(std::string tensor_name, int v, Storage storage) {
  const Shape& shape = graph.layers[static_cast<std::size_t>(v)].shape;
  const std::size_t count =
      static_cast<std::size_t>(shape.size()) * static_cast<std::size_t>(samples());
  return add_tensor(std::move(tensor_name), count * storage_bytes(storage), Per::wave_replica,
                    Space::arena, storage == Storage::f32 ? 'f' : 'h');
}

Storage Emission::storage(int v) const {
  const Unit& last = units.back();
  const bool logits =
      v == last.output &&
      std::holds_alternative<LinearLayer>(graph.layers[static_cast<std::size_t>(last.layer)].kind);
  if (v == 0) return program.image_storage;
  return logits ? Storage::f32 : program.options.storage;
}

int Emission::value_in(int v, Storage wanted) {
  const auto index = static_cast<std::size_t>(v);
  if (storage(v) == wanted) return value[index];
  if (converted[index] < 0) {
    converted[index] = add_values(
        graph.layers[index].name + (wanted == Storage::f32 ? " in f32" : " in bf16"), v, wanted);
    emit_conversion(Pass::forward, v, storage(v), value[index], converted[index]);
  }
  return converted[index];
}

void Emission::emit_conversion(Pass pass, int v, Storage from, int source, int target) {
  const Layer& layer = graph.layers[static_cast<std::size_t>(v)];
  emit(pass, scope(), layer.name, Convert{samples(), layer.shape.size(), from},
       {.x = source, .y = target});
}

int Emission::output(const Unit& unit) {
  const int tensor = add_values(layer(unit.output).name, unit.output, storage(unit.output));
  value[static_cast<std::size_t>(unit.output)] = tensor;
  return tensor;
}

std::size_t Emission::padded(std::size_t count) const {
  const std::size_t alignment = device.channels_last_weights() ? kAlignment / sizeof(float) : 1;
  return (count + alignment - 1) / alignment * alignment;
}

int Emission::sample_ids() {
  return add_tensor("sample ids", sizeof(std::uint32_t) * static_cast<std::size_t>(samples()),
                    Per::replica, Space::sample_id, 'o');
}

Instruction& Emission::append(Pass pass, Scope scope, const std::string& layer_name, const Op& op,
                              std::vector<int> args, std::size_t inputs) {
  Instruction instruction;
  instruction.scope = scope;
  instruction.pass = pass;
  instruction.layer = layer_name;
  instruction.op = op;
  instruction.args = std::move(args);
  instruction.first_output = static_cast<int>(inputs);
  program.instructions.push_back(std::move(instruction));
  return program.instructions.back();
}

int Emission::emit_statistics_reduction(Pass pass, const std::string& names, int leaf,
                                        std::size_t count, Combine combine) {
  if (!program.reduces_statistics()) return leaf;
  ReductionSpec spec;
  spec.kind = pass == Pass::forward ? ReductionKind::forward_statistics
                                    : ReductionKind::backward_statistics;
  spec.combine = combine;
  spec.name = names + (pass == Pass::forward ? " statistics" : " gradient sums");
  spec.leaf = leaf;
  spec.result =
      add_tensor(names + " reduced", count * sizeof(double), Per::wave_group, Space::arena, 'd');
  spec.count = count;
  program.reductions.push_back(spec);
  program.statistics_cross_replicas = true;
  const int index = static_cast<int>(program.reductions.size()) - 1;
  for (const auto step : {InstructionKind::reduce_start, InstructionKind::reduce_wait}) {
    Instruction instruction;
    instruction.kind = step;
    instruction.pass = pass;
    instruction.layer = names;
    instruction.reduction = index;
    // The wait has the leaves as arguments because they are read until it is over.
    instruction.args = {leaf, spec.result};
    instruction.first_output = 1;
    program.instructions.push_back(std::move(instruction));
  }
  return spec.result;
}

bool Emission::batch_statistics(const Unit& unit) const {
  const ProgramMode mode = program.options.mode;
  return norm(unit).over_batch() && mode != ProgramMode::evaluation &&
         mode != ProgramMode::mixed_evaluation;
}

bool Emission::trained(int index) const {
  const Parameter& one = graph.parameters[static_cast<std::size_t>(index)];
  const bool of_norm = one.role == ParameterRole::gamma || one.role == ParameterRole::beta;
  return !of_norm || graph.norm(one.layer).traits().trains_affine;
}

int Emission::parameter(const Unit& unit, ParameterRole role) const {
  const int index = graph.parameter(unit.layer, role);
  return index < 0 ? -1 : parameter_tensor[static_cast<std::size_t>(index)];
}

int Emission::parameter_gradient(const Unit& unit, ParameterRole role) const {
  const int index = graph.parameter(unit.layer, role);
  return index < 0 || !trained(index) ? -1 : gradient_tensor[static_cast<std::size_t>(index)];
}

Scope Emission::scope() const {
  return program.options.merge_replicas ? Scope::merged : Scope::replica;
}

int Emission::samples() const { return program.options.batch_per_replica; }

ConvShape Emission::conv_shape(const Unit& unit) const {
  const LayerKind& kind = layer(unit.layer).kind;
  const Shape& in = shape(unit.input);
  if (const auto* mirrored = std::get_if<ConvTransposeLayer>(&kind)) {
    const Shape& out = shape(unit.layer);
    return {out.height,       out.width,          out.channels,      in.channels,
            mirrored->kernel, mirrored->stride,   mirrored->padding, false,
            samples(),        mirrored->dilation, mirrored->groups};
  }
  const auto& conv = std::get<ConvLayer>(kind);
  return {in.height,    in.width,  in.channels, conv.out,      conv.kernel, conv.stride,
          conv.padding, conv.bias, samples(),   conv.dilation, conv.groups};
}

UpsampleShape Emission::upsample_shape(const Unit& unit) const {
  const auto& upsample = std::get<UpsampleLayer>(layer(unit.layer).kind);
  const Shape& in = shape(unit.input);
  return {upsample.mode, upsample.corners, in.height,     in.width,
          in.channels,   upsample.height,  upsample.width};
}

Factor Emission::factor_of(const Unit& unit) const {
  // Of the layers, as a flattened map shares the value of the map.
  const std::vector<int>& inputs = layer(unit.layer).inputs;
  const Shape &whole = shape(inputs[0]), &part = shape(inputs[1]);
  if (part == whole) return Factor::full;
  return part.channels == whole.channels ? Factor::per_channel : Factor::per_pixel;
}

PoolShape Emission::pool_shape(const Unit& unit) const {
  const auto& pool = std::get<PoolLayer>(graph.layers[static_cast<std::size_t>(unit.layer)].kind);
  const Shape in = graph.layers[static_cast<std::size_t>(unit.input)].shape;
  const bool global = pool.kernel == 0;
  return {pool.kind,
          in.height,
          in.width,
          in.channels,
          global ? in.height : pool.kernel,
          global ? in.width : pool.kernel,
          global ? 1 : pool.stride,
          pool.padding};
}

}  // namespace syncnorm
