// EvoNorm-B0: what takes the place of batch norm's passes over memory. Sums, messages and running
// statistics are batch norm's (batch.cpp); the norm contains its activation, as those in
// activated.cpp.
#include "engine/program/norm/norm.h"

namespace syncnorm {

void emit_evonorm_moments(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  const std::size_t vector = sizeof(float) * static_cast<std::size_t>(norm_channels(e, unit)) *
                             static_cast<std::size_t>(e.samples());
  saved.sample_mean = e.add_tensor(e.name(unit) + " sample mean", 2 * vector, Per::wave_replica);
  saved.sample_deviation =
      e.add_tensor(e.name(unit) + " sample deviation", vector, Per::wave_replica);
  const int x = e.input(unit);
  e.emit(
      Pass::forward, Scope::replica, e.name(unit),
      e.stored(EvoNormMoments{e.samples(), norm_pixels(e, unit), norm_channels(e, unit), norm.eps}),
      {.x = x,
       .sums = saved.moments,
       .mean = saved.sample_mean,
       .deviation = saved.sample_deviation});
}

void emit_evonorm_apply(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  if (!e.batch_statistics(unit)) emit_evonorm_moments(e, n);
  const Emission::Saved& saved = e.saved[n];
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(
      Pass::forward, Scope::replica, e.name(unit),
      e.stored(EvoNormApply{e.samples(), norm_pixels(e, unit), norm_channels(e, unit), unit.relu}),
      {.x = x,
       .inv_std = saved.inv_std,
       .deviation = saved.sample_deviation,
       .gamma = e.parameter(unit, ParameterRole::gamma),
       .beta = e.parameter(unit, ParameterRole::beta),
       .slope = e.parameter(unit, ParameterRole::slope),
       .residual = residual,
       .y = y});
  emit_noise(e, n);
}

void emit_evonorm_sums(Emission& e, std::size_t n, BatchBackward& tensors) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  tensors.sample_sums = e.add_tensor(e.name(unit) + " sample gradient sums",
                                     sizeof(double) * static_cast<std::size_t>(e.samples()) *
                                         static_cast<std::size_t>(norm_channels(e, unit)),
                                     Per::wave_replica, Space::arena, 'd');
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(EvoNormGradientSums{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                      unit.relu}),
         {.dy = tensors.dy,
          .dy2 = tensors.dy2,
          .x = e.stored_value(unit.input),
          .inv_std = saved.inv_std,
          .deviation = saved.sample_deviation,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .slope = e.parameter(unit, ParameterRole::slope),
          .y = relu_mask(e, unit),
          .sums = tensors.sums,
          .sample_sums = tensors.sample_sums,
          .dgamma = e.parameter_gradient(unit, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(unit, ParameterRole::beta),
          .dslope = e.parameter_gradient(unit, ParameterRole::slope),
          .g = tensors.g});
}

void emit_evonorm_input_gradient(Emission& e, std::size_t n, const BatchBackward& tensors) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const bool summed = tensors.g != kAbsent;
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(EvoNormInputGradient{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                       unit.relu && !summed}),
         {.g = summed ? tensors.g : tensors.dy,
          .x = e.stored_value(unit.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .sample_mean = saved.sample_mean,
          .deviation = saved.sample_deviation,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .slope = e.parameter(unit, ParameterRole::slope),
          .sums = saved.total,
          .gradient_sums = tensors.total,
          .sample_sums = tensors.sample_sums,
          .dx = tensors.dx});
}

}  // namespace syncnorm
