// Noise after a norm (kernels/ops/pointwise.h, NormNoise).
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

NormNoise noise_op(const Emission& e, const Unit& unit, bool backward, bool expected) {
  const NormConfig& norm = e.norm(unit);
  return e.stored(NormNoise{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                            norm.noise_mean, norm.noise_scale, norm.noise_sample_mean,
                            norm.noise_sample_scale, unit.layer, backward, expected});
}

}  // namespace

void emit_noise(Emission& e, std::size_t n) {
  if (!e.norm(e.units[n]).noise) return;
  const Unit& unit = e.units[n];
  const auto output = static_cast<std::size_t>(unit.output);
  const bool expected = evaluates(e.program.options.mode);
  e.saved[n].sample_ids = expected ? kAbsent : e.sample_ids();
  const int y = e.add_values(e.name(unit) + " with noise", unit.output, e.program.options.storage);
  e.emit(Pass::forward, e.scope(), e.name(unit), noise_op(e, unit, false, expected),
         {.x = e.value[output], .sample_ids = e.saved[n].sample_ids, .y = y});
  e.value[output] = y;
}

int emit_noise_backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Unit& unit = e.units[n];
  const int dy = gradients.of(unit), dx = gradients.like(unit.output, " gradient before noise");
  e.emit(Pass::backward, e.scope(), e.name(unit), noise_op(e, unit, true, false),
         {.x = dy, .sample_ids = e.saved[n].sample_ids, .y = dx});
  return dx;
}

}  // namespace syncnorm
