// Norms without statistics, a function of each value: DyT and Derf.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

PointwiseFunction function_of(const Emission& e) {
  return e.program.options.norm.kind == NormKind::dyt ? PointwiseFunction::tanh
                                                      : PointwiseFunction::erf;
}

void forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(PointwiseNormForward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                       function_of(e), unit.relu}),
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
  const std::vector<int> dy = norm_gradient(e, gradients, n);
  const bool keeps = dy.size() > 1 || gradients.needed(unit.residual);
  const int g = keeps ? gradients.like(unit.output, " masked gradient") : kAbsent;
  // The kernel writes dx always; a norm on the images themselves has no use for it.
  const int dx = gradients.make(unit.input);
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(PointwiseNormBackward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                        function_of(e), unit.relu}),
         {.dy = dy[0],
          .dy2 = dy.size() > 1 ? dy[1] : kAbsent,
          .x = e.stored_value(unit.input),
          .alpha = e.parameter(unit, ParameterRole::alpha),
          .shift = e.parameter(unit, ParameterRole::shift),
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .y = relu_mask(e, unit),
          .dx = dx,
          .dalpha = e.parameter_gradient(unit, ParameterRole::alpha),
          .dshift = e.parameter_gradient(unit, ParameterRole::shift),
          .dgamma = e.parameter_gradient(unit, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(unit, ParameterRole::beta),
          .g = g});
  if (gradients.needed(unit.input)) gradients.contribute(unit.input, dx);
  if (unit.residual >= 0) gradients.contribute(unit.residual, g);
}

}  // namespace

const NormFamily kPointwiseNorms = {forward, backward};

}  // namespace syncnorm
