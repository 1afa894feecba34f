// Batch norms whose statistics are averaged over updates: what stands between batch norm's passes
// (batch.cpp) in their place.
#include <algorithm>
#include <cmath>

#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

/// The tensor of the sums that the input gradient takes.
int add_constants(Emission& e, const Unit& unit) {
  return e.add_tensor(e.name(unit) + " gradient constants",
                      2 * static_cast<std::size_t>(norm_channels(e, unit)) * sizeof(double),
                      Per::wave_group, Space::arena, 'd');
}

}  // namespace

void emit_momentum_finalize(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  const int channels = norm_channels(e, unit);
  const ProgramOptions& options = e.program.options;
  const double share = norm.momentum_share(options.batch_per_replica);
  const int ramp = norm.momentum_ramp > 0 ? norm.momentum_ramp : options.total_updates;
  // The running pair averages over as many images as with a large batch, Yong et al. 2020.
  const double momentum = share < 1.0 ? 1.0 - std::pow(1.0 - norm.momentum, share) : norm.momentum;
  saved.mixing = e.add_tensor(e.name(unit) + " mixing",
                              (1 + static_cast<std::size_t>(channels)) * sizeof(double),
                              Per::wave_group, Space::arena, 'd');
  e.emit(Pass::forward, Scope::group, e.name(unit),
         MomentumFinalize{1, channels, norm.eps, momentum, {share, ramp}},
         {.sums = saved.total,
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .mixing = saved.mixing,
          .moving_mean = saved.kept[0],
          .moving_var = saved.kept[1],
          .running_mean = saved.running_mean,
          .running_var = saved.running_var});
}

int emit_momentum_gradient(Emission& e, std::size_t n, int total) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const int constants = add_constants(e, unit);
  e.emit(Pass::backward, Scope::group, e.name(unit), MomentumGradient{1, norm_channels(e, unit)},
         {.gradient_sums = total,
          .mixing = saved.mixing,
          .inv_std = saved.inv_std,
          .constants = constants});
  return constants;
}

namespace {

MovingWindow window_of(const NormConfig& norm) {
  return {norm.window, norm.window_start, norm.r_max,
          std::max(norm.renormalize_start, norm.window_start)};
}

}  // namespace

void emit_moving_finalize(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  e.emit(Pass::forward, Scope::group, e.name(unit),
         MovingFinalize{1, norm_channels(e, unit), norm.eps, norm.momentum, window_of(norm)},
         {.sums = saved.total,
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .correction = saved.correction,
          .squares = saved.kept[0],
          .running_var = saved.running_var});
}

int emit_moving_gradient(Emission& e, std::size_t n, int total) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  const int constants = add_constants(e, unit);
  e.emit(Pass::backward, Scope::group, e.name(unit),
         MovingGradient{1, norm_channels(e, unit), window_of(norm)},
         {.gradient_sums = total,
          .sums = saved.total,
          .correction = saved.correction,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .constants = constants,
          .gradients = saved.kept[1]});
  return constants;
}

}  // namespace syncnorm
