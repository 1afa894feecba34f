// Norms within a sample: group, layer, instance and RMS norm.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

int groups_of(const Emission& e, const Unit& unit) {
  return e.program.options.norm.groups_of(norm_channels(e, unit));
}

void forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.program.options.norm;
  const std::size_t vector = sizeof(float) * static_cast<std::size_t>(norm_channels(e, unit)) *
                             static_cast<std::size_t>(e.samples());
  saved.mean = e.add_tensor(e.name(unit) + " mean", 2 * vector, Per::wave_replica);
  saved.inv_std = e.add_tensor(e.name(unit) + " inv_std", vector, Per::wave_replica);
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(GroupNormForward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                   groups_of(e, unit), norm.eps, unit.relu,
                                   norm.traits().subtracts_mean}),
         {.x = x,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .residual = residual,
          .y = y,
          .mean = saved.mean,
          .inv_std = saved.inv_std});
  emit_noise(e, n);
}

void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const std::vector<int> dy = norm_gradient(e, gradients, n);
  const bool keeps = dy.size() > 1 || gradients.needed(unit.residual);
  const int g = keeps ? gradients.like(unit.output, " masked gradient") : kAbsent;
  // The kernel always writes dx; a norm directly on the images does not use it.
  const int dx = gradients.make(unit.input);
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(GroupNormBackward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                    groups_of(e, unit), unit.relu,
                                    e.program.options.norm.traits().subtracts_mean}),
         {.dy = dy[0],
          .dy2 = dy.size() > 1 ? dy[1] : kAbsent,
          .x = e.stored_value(unit.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .y = relu_mask(e, unit),
          .dx = dx,
          .dgamma = e.parameter_gradient(unit, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(unit, ParameterRole::beta),
          .g = g});
  if (gradients.needed(unit.input)) gradients.contribute(unit.input, dx);
  if (unit.residual >= 0) gradients.contribute(unit.residual, g);
}

}  // namespace

const NormFamily kGroupNorms = {forward, backward};

}  // namespace syncnorm
