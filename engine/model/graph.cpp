// Infers shapes, and adds the parameters of layers.
#include "engine/model/graph.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {
namespace {

/// Returns the output size of a window sliding over `size` values. Throws InputError that names the
/// layer.
int window(const std::string& name, int size, int kernel, int stride, int padding) {
  if (size + 2 * padding < kernel)
    throw InputError(
        ConfigKey{"model"},
        fmt::format("layer '{}': a kernel of {} does not fit a map of {} with padding {}; use a "
                    "smaller kernel, "
                    "more padding, larger images or fewer strides and pools before it",
                    name, kernel, size, padding));
  return (size + 2 * padding - kernel) / stride + 1;
}

struct InferShape {
  const std::string& name;
  Shape in;

  Shape operator()(const InputLayer&) const { return in; }
  Shape operator()(const ConvLayer& l) const {
    return {window(name, in.height, l.kernel, l.stride, l.padding),
            window(name, in.width, l.kernel, l.stride, l.padding), l.out};
  }
  Shape operator()(const LinearLayer& l) const {
    if (in.pixels() != 1)
      throw InputError(
          ConfigKey{"model"},
          fmt::format(
              "layer '{}': linear reads a vector, but its input is {}x{}x{}; put 'flatten' or "
              "'global_pool' before it",
              name, in.height, in.width, in.channels));
    return {1, 1, l.out};
  }
  Shape operator()(const PoolLayer& l) const {
    if (l.kernel == 0) return {1, 1, in.channels};
    if (2 * l.padding > l.kernel)
      throw InputError(ConfigKey{"model"},
                       fmt::format("layer '{}': padding {} is more than half the kernel {}", name,
                                   l.padding, l.kernel));
    return {window(name, in.height, l.kernel, l.stride, l.padding),
            window(name, in.width, l.kernel, l.stride, l.padding), in.channels};
  }
  Shape operator()(const NormLayer&) const { return in; }
  Shape operator()(const ActivationLayer&) const { return in; }
  Shape operator()(const DropoutLayer&) const { return in; }
  Shape operator()(const AddLayer&) const { return in; }
  Shape operator()(const FlattenLayer&) const { return {1, 1, in.size()}; }
};

std::string divisors_text(int n) {
  std::string text;
  for (int d = 1; d <= n; ++d)
    if (n % d == 0) text += (text.empty() ? "" : ", ") + std::to_string(d);
  return text;
}

}  // namespace

std::size_t Parameter::count() const {
  return static_cast<std::size_t>(
      std::accumulate(shape.begin(), shape.end(), 1LL, std::multiplies<>()));
}

int Graph::parameter(int layer, ParameterRole role) const {
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (parameters[i].layer == layer && parameters[i].role == role) return static_cast<int>(i);
  return -1;
}

int Graph::consumers(int value) const {
  int count = 0;
  for (const Layer& layer : layers)
    for (const int input : layer.inputs) count += input == value ? 1 : 0;
  return count;
}

GraphBuilder::GraphBuilder(Shape input, const NormConfig& norm) : norm_(norm) {
  graph_.layers.push_back({"input", InputLayer{}, {}, input});
}

int GraphBuilder::add(const std::string& name, LayerKind kind, int input) {
  if (input < 0) input = last();
  for (const Layer& layer : graph_.layers)
    if (layer.name == name)
      throw InputError(ConfigKey{"model"},
                       fmt::format("layer '{}': the name is used twice; names must differ", name));
  const bool of_norm =
      std::holds_alternative<NormLayer>(graph_.layers[static_cast<std::size_t>(input)].kind);
  if (std::holds_alternative<ActivationLayer>(kind) && of_norm && norm_.has_activation())
    return input;
  const Shape out = std::visit(InferShape{name, shape(input)}, kind);
  graph_.layers.push_back({name, kind, {input}, out});
  add_parameters(last());
  return last();
}

int GraphBuilder::add_sum(const std::string& name, int a, int b) {
  if (!(shape(a) == shape(b)))
    throw InputError(
        ConfigKey{"model"},
        fmt::format(
            "layer '{}': cannot add '{}' of {}x{}x{} to '{}' of {}x{}x{}; shapes must be equal",
            name, graph_.layers[static_cast<std::size_t>(b)].name, shape(b).height, shape(b).width,
            shape(b).channels, graph_.layers[static_cast<std::size_t>(a)].name, shape(a).height,
            shape(a).width, shape(a).channels));
  const int index = add(name, AddLayer{}, a);
  graph_.layers.back().inputs.push_back(b);
  return index;
}

void GraphBuilder::add_weight(int index, const std::vector<int>& shape, int fan_in, int fan_out) {
  const std::string& name = graph_.layers[static_cast<std::size_t>(index)].name;
  const auto push = [&](const char* suffix, const std::vector<int>& dims, ParameterRole role) {
    graph_.parameters.push_back({name + suffix, dims, index, role, fan_in, fan_out});
  };
  if (norm_.weights != WeightsKind::normalized)
    return push(".weight", shape, ParameterRole::weight);
  std::vector<int> gains(shape.size(), 1);
  gains[0] = shape[0];
  push(".weight_g", gains, ParameterRole::gain);
  push(".weight_v", shape, ParameterRole::weight);
}

void GraphBuilder::add_parameters(int index) {
  const Layer& layer = graph_.layers[static_cast<std::size_t>(index)];
  const int channels = shape(layer.inputs[0]).channels;
  const auto push = [&](const char* suffix, std::vector<int> dims, ParameterRole role, int fan_in,
                        int fan_out) {
    graph_.parameters.push_back(
        {layer.name + suffix, std::move(dims), index, role, fan_in, fan_out});
  };
  if (const auto* conv = std::get_if<ConvLayer>(&layer.kind)) {
    const int area = conv->kernel * conv->kernel;
    const bool centered = norm_.weights == WeightsKind::centered;
    if ((centered || norm_.weights == WeightsKind::standardized) && channels * area == 1)
      throw InputError(
          ConfigKey{"norm.weights"},
          fmt::format("a filter of layer '{}' is a single weight, which {} to 0; use normalized or "
                      "plain",
                      layer.name, centered ? "is centered" : "standardizes"));
    add_weight(index, {conv->out, channels, conv->kernel, conv->kernel}, channels * area,
               conv->out * area);
    if (conv->bias) push(".bias", {conv->out}, ParameterRole::bias, 1, 1);
  } else if (const auto* linear = std::get_if<LinearLayer>(&layer.kind)) {
    add_weight(index, {linear->out, channels}, channels, linear->out);
    if (linear->bias) push(".bias", {linear->out}, ParameterRole::bias, 1, 1);
  } else if (std::holds_alternative<NormLayer>(layer.kind)) {
    graph_.norms.push_back(index);
    if (norm_.traits().groups == ChannelGroups::configured) {
      const bool by_width = norm_.channels_per_group > 0;
      const int divisor = by_width ? norm_.channels_per_group : norm_.groups;
      if (channels % divisor != 0)
        throw InputError(
            ConfigKey{by_width ? "norm.channels_per_group" : "norm.groups"},
            fmt::format("{} does not divide the {} channels of layer '{}'; use one of {}", divisor,
                        channels, layer.name, divisors_text(channels)));
    }
    const LayerScalars scalars = norm_.traits().scalars;
    if (scalars != LayerScalars::none) push(".alpha", {1}, ParameterRole::alpha, 1, 1);
    if (scalars == LayerScalars::alpha_and_shift) push(".shift", {1}, ParameterRole::shift, 1, 1);
    if (norm_.kind == NormKind::frn && shape(index).pixels() == 1)
      push(".eps", {1}, ParameterRole::epsilon, 1, 1);
    if (norm_.has_activation())
      push(norm_.kind == NormKind::frn ? ".tau" : ".v", {channels},
           norm_.kind == NormKind::frn ? ParameterRole::threshold : ParameterRole::slope, 1, 1);
    if (norm_.affine) {
      push(".weight", {channels}, ParameterRole::gamma, 1, 1);
      if (norm_.traits().has_beta) push(".bias", {channels}, ParameterRole::beta, 1, 1);
    }
  }
}

Graph GraphBuilder::finish(int classes) {
  graph_.output = last();
  const Shape out = shape(graph_.output);
  if (!(out == Shape{1, 1, classes}))
    throw InputError(ConfigKey{"model"},
                     fmt::format("layer '{}': the last layer gives {}x{}x{}, but the data has {} "
                                 "classes; end with a linear "
                                 "layer of {} outputs",
                                 graph_.layers.back().name, out.height, out.width, out.channels,
                                 classes, classes));
  for (int i = 0; i < graph_.output; ++i)
    if (graph_.consumers(i) == 0)
      throw InputError(
          ConfigKey{"model"},
          fmt::format("layer '{}': nothing reads its output; remove it, or read it with 'input' or "
                      "'from'",
                      graph_.layers[static_cast<std::size_t>(i)].name));
  const bool convolves =
      std::any_of(graph_.layers.begin(), graph_.layers.end(),
                  [](const Layer& l) { return std::holds_alternative<ConvLayer>(l.kind); });
  const bool centered = norm_.weights == WeightsKind::centered;
  if ((centered || norm_.weights == WeightsKind::standardized) && !convolves)
    throw InputError(ConfigKey{"norm.weights"},
                     fmt::format("{} acts on convolutions, and this model has none; use normalized "
                                 "or plain",
                                 centered ? "centered" : "standardized"));
  if (graph_.parameters.empty())
    throw InputError(ConfigKey{"model.layers"},
                     "the model has nothing to train; add a linear or conv layer");
  return graph_;
}

}  // namespace syncnorm
