// Divides the parameters into stretches with and without weight decay, and updates them.
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
    : config_(config), device_(&device), count_(program.trained_floats) {
  // The state files contain frozen parameters, too; their state stays zero.
  const std::size_t bytes = program.parameter_floats * sizeof(float);
  first_ = Mirror(device, bytes, program.weight_blocks);
  if (config.kind != OptimizerKind::sgd) second_ = Mirror(device, bytes, program.weight_blocks);
  norm_ = Mirror(device, sizeof(double));
  sum_of_squares_ = device.compile(SumOfSquares{1, count_});
  gradient_factor_ = device.compile(GradientFactor{1, config.clip_norm});
  factor_ = device.allocate(sizeof(float));
  go_on();
  if (config.clip == ClipKind::adaptive) add_clips(graph, program);

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
    const std::size_t begin = program.parameter_offset[order[i]];
    std::size_t j = i, count = 0;
    for (; j < order.size() && decays(order[j]) == decays(order[i]); ++j)
      count = program.parameter_offset[order[j]] + graph.parameters[order[j]].count() - begin;
    Stretch stretch{begin, count, nullptr};
    stretch.kernel =
        device.compile(update_op(config, count, decays(order[i]) ? config.weight_decay : 0.0));
    stretches_.push_back(std::move(stretch));
    i = j;
  }
}

/// Units are rows of weights; vectors are one unit each. The last layer is not clipped (Brock et
/// al. 2021).
void Optimizer::add_clips(const Graph& graph, const Program& program) {
  for (std::size_t p = 0; p < graph.parameters.size(); ++p) {
    const Parameter& parameter = graph.parameters[p];
    const std::size_t offset = program.parameter_offset[p];
    if (parameter.layer == graph.output || offset >= program.trained_floats) continue;
    const int count = static_cast<int>(parameter.count());
    const int outputs = parameter.role == ParameterRole::weight ? parameter.shape[0] : 1;
    clips_.push_back(
        {offset, device_->compile(AdaptiveClip{1, outputs, count / outputs, config_.clip_ratio})});
  }
}

void Optimizer::go_on() {
  constexpr float kOne = 1.0f;
  device_->write(factor_.data(), &kOne, sizeof kOne);
}

double Optimizer::gradient_norm(const Memory& memory) {
  sum_squares(memory);
  norm_.pull();
  return std::sqrt(norm_.host<double>()[0]);
}

void Optimizer::sum_squares(const Memory& memory) {
  sum_of_squares_->run(pointer_list<SumOfSquares>({.gradient = memory.gradients.as<float>().data(),
                                                   .sum = norm_.device<double>()}),
                       {});
}

void Optimizer::update(const Memory& memory, const StepState& state, const double* loss) {
  float* gradient = memory.gradients.as<float>().data();
  sum_squares(memory);
  float* factor = factor_.as<float>().data();
  gradient_factor_->run(
      pointer_list<GradientFactor>(
          {.sum_of_squares = norm_.device<double>(), .loss = loss, .factor = factor}),
      state);
  for (const Clip& clip : clips_)
    clip.kernel->run(
        pointer_list<AdaptiveClip>({.parameter = memory.parameters.device<float>() + clip.offset,
                                    .gradient = gradient + clip.offset}),
        state);
  for (const Stretch& stretch : stretches_) {
    const auto at = [&](const Mirror& values) { return values.device<float>() + stretch.offset; };
    if (config_.kind == OptimizerKind::sgd)
      stretch.kernel->run(pointer_list<SgdUpdate>({.gradient = gradient + stretch.offset,
                                                   .factor = factor,
                                                   .parameter = at(memory.parameters),
                                                   .velocity = at(first_)}),
                          state);
    else
      stretch.kernel->run(pointer_list<AdamUpdate>({.gradient = gradient + stretch.offset,
                                                    .factor = factor,
                                                    .parameter = at(memory.parameters),
                                                    .first_moment = at(first_),
                                                    .second_moment = at(second_)}),
                          state);
  }
}

std::vector<OptimizerVector> Optimizer::state() {
  if (config_.kind == OptimizerKind::sgd) return {{"momentum", first_}};
  return {{"exp_avg", first_}, {"exp_avg_sq", second_}};
}

std::size_t Optimizer::bytes() const { return first_.bytes() + second_.bytes(); }

}  // namespace syncnorm
