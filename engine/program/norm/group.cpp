// Norms within a sample: group, layer, instance and RMS norm.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

int groups_of(const Emission& e, const Node& node) {
  switch (e.program.options.norm.traits().groups) {
    case ChannelGroups::one:
      return 1;
    case ChannelGroups::configured:
      return e.program.options.norm.groups;
    case ChannelGroups::each:
      return norm_channels(e, node);
  }
  return 1;
}

void forward(Emission& e, std::size_t n) {
  const Node& node = e.nodes[n];
  Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.program.options.norm;
  const std::size_t vector = sizeof(float) * static_cast<std::size_t>(norm_channels(e, node)) *
                             static_cast<std::size_t>(e.samples());
  saved.mean = e.add_tensor(e.name(node) + " mean", 2 * vector, Per::wave_replica);
  saved.inv_std = e.add_tensor(e.name(node) + " inv_std", vector, Per::wave_replica);
  const int x = e.input(node), residual = e.residual(node), y = e.output(node);
  e.emit(Pass::forward, Scope::replica, e.name(node),
         e.stored(GroupNormForward{e.samples(), norm_pixels(e, node), norm_channels(e, node),
                                   groups_of(e, node), norm.eps, node.relu,
                                   norm.traits().subtracts_mean}),
         {.x = x,
          .gamma = e.parameter(node, ParameterRole::gamma),
          .beta = e.parameter(node, ParameterRole::beta),
          .residual = residual,
          .y = y,
          .mean = saved.mean,
          .inv_std = saved.inv_std});
  emit_noise(e, n);
}

void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Node& node = e.nodes[n];
  const Emission::Saved& saved = e.saved[n];
  const std::vector<int> dy = norm_gradient(e, gradients, n);
  const bool keeps = dy.size() > 1 || gradients.needed(node.residual);
  const int g = keeps ? gradients.like(node.output, " masked gradient") : kAbsent;
  // The kernel writes dx always; a norm on the images themselves has no use for it.
  const int dx = gradients.make(node.input);
  e.emit(Pass::backward, Scope::replica, e.name(node),
         e.stored(GroupNormBackward{e.samples(), norm_pixels(e, node), norm_channels(e, node),
                                    groups_of(e, node), node.relu,
                                    e.program.options.norm.traits().subtracts_mean}),
         {.dy = dy[0],
          .dy2 = dy.size() > 1 ? dy[1] : kAbsent,
          .x = e.stored_value(node.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(node, ParameterRole::gamma),
          .beta = e.parameter(node, ParameterRole::beta),
          .y = relu_mask(e, node),
          .dx = dx,
          .dgamma = e.parameter_gradient(node, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(node, ParameterRole::beta),
          .g = g});
  if (gradients.needed(node.input)) gradients.contribute(node.input, dx);
  if (node.residual >= 0) gradients.contribute(node.residual, g);
}

}  // namespace

const NormFamily kGroupNorms = {forward, backward};

}  // namespace syncnorm
