// Batch norm with constant statistics: the forward pass is that of evaluation, and the backward
// pass masks and scales the gradient, and sums it where γ and β are trained.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

void forward(Emission& e, std::size_t n) {
  add_running_pair(e, e.units[n], e.saved[n]);
  emit_from_running(e, n);
  emit_normalize(e, n);
}

void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Unit& unit = e.units[n];
  const std::vector<int> dy = norm_gradient(e, gradients, n);
  BatchBackward tensors;
  tensors.dy = dy[0];
  const bool keeps = dy.size() > 1 || gradients.needed(unit.residual);
  if (dy.size() > 1) tensors.dy2 = dy[1];
  if (keeps) tensors.g = gradients.like(unit.output, " masked gradient");
  if (keeps || e.parameter_gradient(unit, ParameterRole::gamma) >= 0) {
    // The kernel always writes the sums, though nothing reads them.
    tensors.sums =
        e.add_tensor(e.name(unit) + " gradient sums",
                     2 * static_cast<std::size_t>(norm_channels(e, unit)) * sizeof(double),
                     Per::wave_replica, Space::arena, 'd');
    emit_gradient_sums(e, n, tensors);
    if (unit.residual >= 0) gradients.contribute(unit.residual, tensors.g);
  }
  if (!gradients.needed(unit.input)) return;
  tensors.dx = gradients.make(unit.input);
  emit_input_gradient(e, n, tensors, true);
  gradients.contribute(unit.input, tensors.dx);
}

}  // namespace

const NormFamily kFrozenNorms = {forward, backward};

}  // namespace syncnorm
