// Weights that are computed from parameters. Normalized, standardized or centered weights are
// computed once per step, and after every wgrad their gradient is propagated to the parameters.
// This is linear in the gradient, so it can be done per replica before gradients are added.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

const Parameter& parameter_of(const Emission& e, const Unit& unit) {
  const int index = e.graph.parameter(unit.layer, ParameterRole::weight);
  return e.graph.parameters[static_cast<std::size_t>(index)];
}

bool is_conv(const Emission& e, const Unit& unit) {
  return std::holds_alternative<ConvLayer>(
      e.graph.layers[static_cast<std::size_t>(unit.layer)].kind);
}

bool computed(const Emission& e, const Unit& unit) {
  if (std::holds_alternative<ConvTransposeLayer>(e.layer(unit.layer).kind)) return false;
  switch (e.graph.weights) {
    case WeightsKind::plain:
      return false;
    case WeightsKind::normalized:
      return true;
    case WeightsKind::standardized:
    case WeightsKind::scaled_standardized:
    case WeightsKind::centered:
      return is_conv(e, unit);
  }
  return false;
}

WeightForm form_of(const Graph& graph) {
  switch (graph.weights) {
    case WeightsKind::plain:  // is not computed
    case WeightsKind::normalized:
      break;
    case WeightsKind::standardized:
      return WeightForm::standardized;
    case WeightsKind::scaled_standardized:
      return WeightForm::scaled;
    case WeightsKind::centered:
      return WeightForm::centered;
  }
  return WeightForm::normalized;
}

/// The factor of scaled weights.
double input_gain(const Emission& e, const Unit& unit) {
  const auto* conv = std::get_if<ConvLayer>(&e.layer(unit.layer).kind);
  return conv != nullptr ? conv->input_gain : 1.0;
}

struct Rows {
  int outputs, inputs;
};

Rows rows_of(const Parameter& weight) {
  return {weight.shape[0], static_cast<int>(weight.count()) / weight.shape[0]};
}

}  // namespace

int emit_weight(Emission& e, const Unit& unit, Emission::Saved& saved) {
  const int parameter = e.parameter(unit, ParameterRole::weight);
  if (!computed(e, unit)) return parameter;
  const WeightForm form = form_of(e.graph);
  const Rows rows = rows_of(parameter_of(e, unit));
  const std::string& name = e.name(unit);
  const std::size_t vector = sizeof(double) * static_cast<std::size_t>(rows.outputs);
  const auto add = [&](const char* suffix, std::size_t bytes, char element, bool persistent) {
    const int tensor = e.add_tensor(name + suffix, bytes, Per::once, Space::arena, element);
    e.program.tensors.back().persistent = persistent;
    return tensor;
  };
  // Persistent, since computed once for all waves of a step or all chunks of an evaluation. A
  // weight that is packed is packed at once and not read again.
  const bool packed = is_conv(e, unit) && !e.device.channels_last_weights();
  const int weight = add(" weight", parameter_of(e, unit).count() * sizeof(float), 'f', !packed);
  saved.weight_mean = form != WeightForm::normalized ? add(" weight mean", vector, 'd', true) : -1;
  saved.weight_scale = add(" weight scale", vector, 'd', true);
  e.emit(
      Pass::prepare, Scope::once, name,
      WeightNormalize{1, rows.outputs, rows.inputs, form, e.graph.weights_eps, input_gain(e, unit)},
      {.v = parameter,
       .g = e.parameter(unit, ParameterRole::gain),
       .w = weight,
       .mean = saved.weight_mean,
       .scale = saved.weight_scale});
  return weight;
}

int weight_gradient(Emission& e, const Unit& unit, const Emission::Saved& saved) {
  if (!computed_weight(saved)) return e.parameter_gradient(unit, ParameterRole::weight);
  return e.add_tensor(e.name(unit) + " weight gradient",
                      parameter_of(e, unit).count() * sizeof(float),
                      e.scope() == Scope::merged ? Per::once : Per::wave_replica);
}

void emit_weight_backward(Emission& e, const Unit& unit, const Emission::Saved& saved,
                          int gradient) {
  if (!computed_weight(saved)) return;
  const Rows rows = rows_of(parameter_of(e, unit));
  e.emit(Pass::backward, e.scope(), e.name(unit),
         WeightNormalizeBackward{e.samples(), rows.outputs, rows.inputs, form_of(e.graph),
                                 e.graph.weights_eps, input_gain(e, unit)},
         {.dw = gradient,
          .v = e.parameter(unit, ParameterRole::weight),
          .g = e.parameter(unit, ParameterRole::gain),
          .mean = saved.weight_mean,
          .scale = saved.weight_scale,
          .dv = e.parameter_gradient(unit, ParameterRole::weight),
          .dg = e.parameter_gradient(unit, ParameterRole::gain)})
      .deferrable = true;
}

}  // namespace syncnorm
