// Norms that contain their activation: FRN with or without TLU, and EvoNorm-S0. The graph has no
// activation directly behind them; a ReLU behind a residual add is fused as in other norms.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

ParameterRole slope_of(const Emission& e, const Unit& unit) {
  return e.norm(unit).kind == NormKind::frn ? ParameterRole::threshold : ParameterRole::slope;
}

ActivatedNormShape shape_of(const Emission& e, const Unit& unit) {
  const NormConfig& norm = e.norm(unit);
  const bool swish = norm.traits().activation == InnerActivation::swish;
  return {norm_pixels(e, unit),
          norm_channels(e, unit),
          norm_groups(e, unit),
          norm.eps,
          swish ? NormActivation::swish : NormActivation::threshold,
          unit.relu};
}

void forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  add_sample_statistics(e, unit, saved);
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(ActivatedNormForward{e.samples(), shape_of(e, unit)}),
         {.x = x,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .slope = e.parameter(unit, slope_of(e, unit)),
          .epsilon = e.parameter(unit, ParameterRole::epsilon),
          .residual = residual,
          .y = y,
          .mean = saved.mean,
          .inv_std = saved.inv_std});
  emit_noise(e, n);
}

void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const LocalBackward tensors = local_backward(e, gradients, n);
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(ActivatedNormBackward{e.samples(), shape_of(e, unit)}),
         {.dy = tensors.dy,
          .dy2 = tensors.dy2,
          .x = e.stored_value(unit.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .slope = e.parameter(unit, slope_of(e, unit)),
          .epsilon = e.parameter(unit, ParameterRole::epsilon),
          .y = relu_mask(e, unit),
          .dx = tensors.dx,
          .dgamma = e.parameter_gradient(unit, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(unit, ParameterRole::beta),
          .dslope = e.parameter_gradient(unit, slope_of(e, unit)),
          .depsilon = e.parameter_gradient(unit, ParameterRole::epsilon),
          .g = tensors.g});
  contribute(gradients, unit, tensors);
}

}  // namespace

const NormFamily kActivatedNorms = {forward, backward};

}  // namespace syncnorm
