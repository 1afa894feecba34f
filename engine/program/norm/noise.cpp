// Noise behind a norm (kernels/ops/pointwise.h, NormNoise).
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

NormNoise noise_op(const Emission& e, const Node& node, bool backward, bool expected) {
  const NormConfig& norm = e.program.options.norm;
  return e.stored(NormNoise{e.samples(), norm_pixels(e, node), norm_channels(e, node),
                            norm.noise_mean, norm.noise_scale, norm.noise_sample_mean,
                            norm.noise_sample_scale, node.layer, backward, expected});
}

}  // namespace

void emit_noise(Emission& e, std::size_t n) {
  if (!e.program.options.norm.noise) return;
  const Node& node = e.nodes[n];
  const auto output = static_cast<std::size_t>(node.output);
  const bool expected = e.program.options.mode == ProgramMode::evaluation;
  e.saved[n].sample_ids = expected ? kAbsent : e.sample_ids();
  const int y = e.add_values(e.name(node) + " with noise", node.output, e.program.options.storage);
  e.emit(Pass::forward, e.scope(), e.name(node), noise_op(e, node, false, expected),
         {.x = e.value[output], .sample_ids = e.saved[n].sample_ids, .y = y});
  e.value[output] = y;
}

int emit_noise_backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Node& node = e.nodes[n];
  const int dy = gradients.of(node), dx = gradients.like(node.output, " gradient before noise");
  e.emit(Pass::backward, e.scope(), e.name(node), noise_op(e, node, true, false),
         {.x = dy, .sample_ids = e.saved[n].sample_ids, .y = dx});
  return dx;
}

}  // namespace syncnorm
