// Batch norm whose statistics are constants: forward as in evaluation, and only the masked
// gradient, scaled, goes on.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

void forward(Emission& e, std::size_t n) {
  add_running_pair(e, e.units[n], e.saved[n]);
  emit_from_running(e, n);
  emit_normalize(e, n);
}

/// g = (dy [+ dy2]) masked by ReLU; the sums that come with it are not used.
int emit_masked_gradient(Emission& e, Gradients& gradients, std::size_t n,
                         const std::vector<int>& dy) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const int channels = norm_channels(e, unit);
  const int g = gradients.like(unit.output, " masked gradient");
  const int unused = e.add_tensor(e.name(unit) + " gradient sums",
                                  2 * static_cast<std::size_t>(channels) * sizeof(double),
                                  Per::wave_replica, Space::arena, 'd');
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(BatchGradientSums{e.samples(), norm_pixels(e, unit), channels, unit.relu}),
         {.dy = dy[0],
          .dy2 = dy.size() > 1 ? dy[1] : kAbsent,
          .x = e.stored_value(unit.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .y = relu_mask(e, unit),
          .correction = kAbsent,
          .sums = unused,
          .dgamma = kAbsent,
          .dbeta = kAbsent,
          .g = g});
  return g;
}

void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const std::vector<int> dy = norm_gradient(e, gradients, n);
  int g = kAbsent;
  if (dy.size() > 1 || gradients.needed(unit.residual)) {
    g = emit_masked_gradient(e, gradients, n, dy);
    if (unit.residual >= 0) gradients.contribute(unit.residual, g);
  }
  if (!gradients.needed(unit.input)) return;
  const int dx = gradients.make(unit.input);
  const bool masks = unit.relu && g == kAbsent;
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(BatchInputGradient{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                     masks, Deviation::l2, 1.0, true}),
         {.g = g == kAbsent ? dy[0] : g,
          .x = e.stored_value(unit.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .gradient_sums = kAbsent,
          .sums = kAbsent,
          .correction = kAbsent,
          .deviation = kAbsent,
          .maxima = kAbsent,
          .dx = dx});
  gradients.contribute(unit.input, dx);
}

}  // namespace

const NormFamily kFrozenNorms = {forward, backward};

}  // namespace syncnorm
