// Stretches of parameters with and without weight decay, and the update over them.
#include "engine/train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace syncnorm {
namespace {

Op update_op(const OptimizerConfig& c, std::size_t count, double decay) {
  if (c.kind == OptimizerKind::sgd) return SgdUpdate{1, count, c.momentum, decay, c.nesterov};
  return AdamUpdate{1, count, c.beta1, c.beta2, c.eps, decay, c.kind == OptimizerKind::adamw};
}

}  // namespace

Optimizer::Optimizer(const Graph& graph, const Program& program, const OptimizerConfig& config,
                     Device& device)
    : config_(config), count_(program.trained_floats) {
  // Frozen parameters have a place in the state files too; it stays zero.
  const std::size_t bytes = program.parameter_floats * sizeof(float);
  first_ = Mirror(device, bytes);
  if (config.kind != OptimizerKind::sgd) second_ = Mirror(device, bytes);
  norm_ = Mirror(device, sizeof(double));
  sum_of_squares_ = device.compile(SumOfSquares{1, count_});

  std::vector<std::size_t> order(graph.parameters.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::erase_if(
      order, [&](std::size_t p) { return program.parameter_offset[p] >= program.trained_floats; });
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return program.parameter_offset[a] < program.parameter_offset[b];
  });
  const auto decays = [&](std::size_t p) {
    return config.weight_decay > 0.0 &&
           (config.decay_norm_and_bias || graph.parameters[p].role == ParameterRole::weight);
  };
  for (std::size_t i = 0; i < order.size();) {
    std::size_t j = i, count = 0;
    for (; j < order.size() && decays(order[j]) == decays(order[i]); ++j)
      count += graph.parameters[order[j]].count();
    Stretch stretch{program.parameter_offset[order[i]], count, nullptr};
    stretch.kernel =
        device.compile(update_op(config, count, decays(order[i]) ? config.weight_decay : 0.0));
    stretches_.push_back(std::move(stretch));
    i = j;
  }
}

double Optimizer::gradient_norm(const Memory& memory) {
  const std::array<void*, 2> args = {memory.gradients.as<float>().data(), norm_.device<double>()};
  sum_of_squares_->run(args, {});
  norm_.pull();
  return std::sqrt(norm_.host<double>()[0]);
}

double Optimizer::update(const Memory& memory, StepState& state) {
  float* gradient = memory.gradients.as<float>().data();
  const double norm = gradient_norm(memory);
  if (!std::isfinite(norm)) return norm;
  state.gradient_scale = 1.0f;
  // torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6 as well.
  if (config_.clip_norm > 0.0 && norm > config_.clip_norm)
    state.gradient_scale = static_cast<float>(config_.clip_norm / (norm + 1e-6));
  for (const Stretch& stretch : stretches_) {
    const auto at = [&](const Mirror& values) -> void* {
      return values.bytes() == 0 ? nullptr : values.device<float>() + stretch.offset;
    };
    const std::array<void*, 4> args = {at(memory.parameters), gradient + stretch.offset, at(first_),
                                       at(second_)};
    stretch.kernel->run(args, state);
  }
  return norm;
}

std::vector<std::pair<std::string, std::span<float>>> Optimizer::state() const {
  if (config_.kind == OptimizerKind::sgd) return {{"momentum", first_.host<float>()}};
  return {{"exp_avg", first_.host<float>()}, {"exp_avg_sq", second_.host<float>()}};
}

void Optimizer::pull() {
  first_.pull();
  second_.pull();
}

void Optimizer::push() {
  first_.push();
  second_.push();
}

std::size_t Optimizer::bytes() const { return first_.bytes() + second_.bytes(); }

}  // namespace syncnorm
