// Layer norm over the channels of every pixel. Nothing is kept of its statistics: the backward pass
// computes them anew.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

void forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(ChannelNormForward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                     e.norm(unit).eps, unit.relu}),
         {.x = x,
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
         e.stored(ChannelNormBackward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                      e.norm(unit).eps, unit.relu}),
         {.dy = tensors.dy,
          .dy2 = tensors.dy2,
          .x = e.stored_value(unit.input),
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .y = relu_mask(e, unit),
          .dx = tensors.dx,
          .dgamma = e.parameter_gradient(unit, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(unit, ParameterRole::beta),
          .g = tensors.g});
  contribute(gradients, unit, tensors);
}

}  // namespace

const NormFamily kChannelNorms = {forward, backward};

}  // namespace syncnorm
