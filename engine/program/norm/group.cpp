// Norms within a sample: group, layer, instance and RMS norm.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

void forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  add_sample_statistics(e, unit, saved);
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(GroupNormForward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                   norm_groups(e, unit), norm.eps, unit.relu,
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
  const LocalBackward tensors = local_backward(e, gradients, n);
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(GroupNormBackward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                    norm_groups(e, unit), unit.relu,
                                    e.norm(unit).traits().subtracts_mean}),
         {.dy = tensors.dy,
          .dy2 = tensors.dy2,
          .x = e.stored_value(unit.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
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

const NormFamily kGroupNorms = {forward, backward};

}  // namespace syncnorm
