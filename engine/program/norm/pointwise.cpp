// Norms without statistics, a function of each value: DyT and Derf.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

PointwiseFunction function_of(const Emission& e, const Unit& unit) {
  return e.norm(unit).kind == NormKind::dyt ? PointwiseFunction::tanh : PointwiseFunction::erf;
}

void forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(PointwiseNormForward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                       function_of(e, unit), unit.relu}),
         {.x = x,
          .alpha = e.parameter(unit, ParameterRole::alpha),
          .shift = e.parameter(unit, ParameterRole::shift),
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .residual = residual,
          .y = y});
  emit_noise(e, n);
}

void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Unit& unit = e.units[n];
  const LocalBackward tensors = local_backward(e, gradients, n);
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(PointwiseNormBackward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                        function_of(e, unit), unit.relu}),
         {.dy = tensors.dy,
          .dy2 = tensors.dy2,
          .x = e.stored_value(unit.input),
          .alpha = e.parameter(unit, ParameterRole::alpha),
          .shift = e.parameter(unit, ParameterRole::shift),
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .y = relu_mask(e, unit),
          .dx = tensors.dx,
          .dalpha = e.parameter_gradient(unit, ParameterRole::alpha),
          .dshift = e.parameter_gradient(unit, ParameterRole::shift),
          .dgamma = e.parameter_gradient(unit, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(unit, ParameterRole::beta),
          .g = tensors.g});
  contribute(gradients, unit, tensors);
}

}  // namespace

const NormFamily kPointwiseNorms = {forward, backward};

}  // namespace syncnorm
