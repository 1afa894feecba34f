// Infers shapes, and adds the parameters of layers.
#include "engine/model/graph.h"

#include <fnmatch.h>

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "engine/config/names.h"
#include "kernels/resample_math.h"

namespace syncnorm {
namespace {

/// Returns the output size of a window sliding over `size` values. Throws InputError that names the
/// layer.
int window(const std::string& name, int size, int kernel, int stride, int padding,
           int dilation = 1) {
  const int reach = dilation * (kernel - 1) + 1;
  if (size + 2 * padding < reach)
    throw InputError(
        ConfigKey{"model"},
        fmt::format("layer '{}': a kernel of {}{} does not fit a map of {} with padding {}; use a "
                    "smaller kernel, "
                    "more padding, larger images or fewer strides and pools before it",
                    name, kernel, dilation > 1 ? fmt::format(" with dilation {}", dilation) : "",
                    size, padding));
  return (size + 2 * padding - reach) / stride + 1;
}

std::string divisors_text(int n) {
  std::string text;
  for (int d = 1; d <= n; ++d)
    if (n % d == 0) text += (text.empty() ? "" : ", ") + std::to_string(d);
  return text;
}

struct InferShape {
  const std::string& name;
  Shape in;

  void check_groups(int groups, int out) const {
    for (const int channels : {in.channels, out})
      if (channels % groups != 0)
        throw InputError(
            ConfigKey{"model"},
            fmt::format("layer '{}': {} groups do not divide the {} channels of its {}; "
                        "use one of {}",
                        name, groups, channels, channels == in.channels ? "input" : "output",
                        divisors_text(std::gcd(in.channels, out))));
  }

  Shape operator()(const InputLayer&) const { return in; }
  Shape operator()(const ConvLayer& l) const {
    check_groups(l.groups, l.out);
    return {window(name, in.height, l.kernel, l.stride, l.padding, l.dilation),
            window(name, in.width, l.kernel, l.stride, l.padding, l.dilation), l.out};
  }
  Shape operator()(const ConvTransposeLayer& l) const {
    check_groups(l.groups, l.out);
    // With more, the convolution that it mirrors would not give this input's size.
    for (const int extra : l.output_padding)
      if (extra >= l.stride)
        throw InputError(ConfigKey{"model"},
                         fmt::format("layer '{}': output_padding {} must be below stride {}", name,
                                     extra, l.stride));
    return {widened(in.height, l, l.output_padding[0]), widened(in.width, l, l.output_padding[1]),
            l.out};
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
  Shape operator()(const UpsampleLayer& l) const {
    if (l.corners && l.mode == UpsampleMode::nearest)
      throw InputError(ConfigKey{"model"},
                       fmt::format("layer '{}': align_corners is for mode: bilinear", name));
    for (const int extent : {in.height, in.width, l.height, l.width})
      if (extent > kLargestResampled)
        throw InputError(ConfigKey{"model"},
                         fmt::format("layer '{}': a map of {} cannot be resampled; the largest "
                                     "height and width is {}",
                                     name, extent, kLargestResampled));
    return {l.height, l.width, in.channels};
  }
  Shape operator()(const ConcatLayer&) const { return in; }
  Shape operator()(const MultiplyLayer&) const { return in; }
  Shape operator()(const FlattenLayer&) const { return {1, 1, in.size()}; }

 private:
  /// The output size of a transposed convolution over `size` values.
  int widened(int size, const ConvTransposeLayer& l, int extra) const {
    const long long out = (size - 1LL) * l.stride - 2LL * l.padding +
                          static_cast<long long>(l.dilation) * (l.kernel - 1) + extra + 1;
    if (out >= 1 && out <= kLargestResampled) return static_cast<int>(out);
    throw InputError(
        ConfigKey{"model"},
        fmt::format("layer '{}': a map of {} would become one of {}; it must have 1 to {}: use {}",
                    name, size, out, kLargestResampled,
                    out < 1 ? "less padding or a larger kernel" : "a smaller stride"));
  }
};

/// Returns true if the mean of every filter is removed.
bool keeps_no_mean(WeightsKind weights) {
  return weights != WeightsKind::plain && weights != WeightsKind::normalized;
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

bool Graph::has_norms_over(StatisticsOver statistics) const {
  return std::any_of(norms.begin(), norms.end(),
                     [&](int layer) { return norm(layer).traits().statistics == statistics; });
}

GraphBuilder::GraphBuilder(Shape input, const Experiment& experiment)
    : norm_(experiment.norm), rules_(experiment.norm_rules) {
  graph_.weights = norm_.weights;
  graph_.weights_eps = norm_.weights_eps;
  graph_.layers.push_back({"input", InputLayer{}, {}, input});
}

GraphBuilder::Choice GraphBuilder::chosen(const std::string& name) {
  if (std::find(norm_names_.begin(), norm_names_.end(), name) == norm_names_.end())
    norm_names_.push_back(name);
  for (std::size_t r = 0; r < rules_.size(); ++r)
    for (std::size_t p = 0; p < rules_[r].match.size(); ++p)
      if (fnmatch(rules_[r].match[p].c_str(), name.c_str(), 0) == 0) {
        used_.insert({r, p});
        return {rules_[r].norm, &rules_[r]};
      }
  return {norm_};
}

void GraphBuilder::check_patterns() const {
  for (std::size_t r = 0; r < rules_.size(); ++r)
    for (std::size_t p = 0; p < rules_[r].match.size(); ++p) {
      if (used_.contains({r, p})) continue;
      const std::string& pattern = rules_[r].match[p];
      const auto hidden = std::find_if(
          norm_names_.begin(), norm_names_.end(),
          [&](const std::string& name) { return fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
      if (hidden != norm_names_.end())
        throw InputError(fmt::format(
            "{}: norm.layers: earlier patterns decide all layers that '{}' matches, as '{}'; the "
            "first that matches decides, so put it before them, or leave it out",
            rules_[r].mark, pattern, *hidden));
      const std::string names = norm_names_.empty()
                                    ? "the model has none"
                                    : fmt::format("they are {}", fmt::join(norm_names_, ", "));
      throw InputError(fmt::format("{}: norm.layers: '{}' matches no norm layer; {}",
                                   rules_[r].mark, pattern, names));
    }
}

/// Returns 1/√Var(f(z)), z ~ N(0, 1), for the activation f behind which there is nothing but pools
/// and dropout up to `value`; 1 if there is none.
double GraphBuilder::activation_gain(int value) const {
  const Layer& layer = graph_.layers[static_cast<std::size_t>(value)];
  if (std::holds_alternative<PoolLayer>(layer.kind) ||
      std::holds_alternative<DropoutLayer>(layer.kind))
    return activation_gain(layer.inputs[0]);
  const auto* activation = std::get_if<ActivationLayer>(&layer.kind);
  if (activation == nullptr) return 1.0;
  switch (activation->kind) {
    case Activation::relu:
      return 1.7128585504496627;
    case Activation::sigmoid:
      return 4.801313372040015;
    case Activation::tanh:
      return 1.5925374197229154;
    case Activation::elu:
      return 1.270843417850278;
    case Activation::selu:
      return 1.0;
    case Activation::gelu:
      return 1.7009262433633923;
    case Activation::silu:
      return 1.7871872221005223;
    case Activation::hard_swish:
      return 1.8138714738026973;
  }
  return 1.0;
}

int GraphBuilder::add(const std::string& name, LayerKind kind, int input) {
  if (input < 0) input = last();
  for (const Layer& layer : graph_.layers)
    if (layer.name == name)
      throw InputError(ConfigKey{"model"},
                       fmt::format("layer '{}': the name is used twice; names must differ", name));
  const auto* before = std::get_if<NormLayer>(&graph_.layers[static_cast<std::size_t>(input)].kind);
  if (std::holds_alternative<ActivationLayer>(kind) && before != nullptr &&
      before->norm.has_activation())
    return input;
  if (auto* added = std::get_if<NormLayer>(&kind)) added->norm = norm(name);
  if (auto* added = std::get_if<ConvLayer>(&kind)) added->input_gain *= activation_gain(input);
  const Shape out = std::visit(InferShape{name, shape(input)}, kind);
  graph_.layers.push_back({name, kind, {input}, out});
  add_parameters(last());
  return last();
}

int GraphBuilder::add_sum(const std::string& name, int a, int b, const AddLayer& layer) {
  if (!(shape(a) == shape(b)))
    throw InputError(ConfigKey{"model"},
                     fmt::format("layer '{}': cannot add {} to {}; shapes must be equal", name,
                                 described(b), described(a)));
  const int index = add(name, layer, a);
  graph_.layers.back().inputs.push_back(b);
  return index;
}

int GraphBuilder::add_concat(const std::string& name, const std::vector<int>& values) {
  if (values.size() < 2 || values.size() > Concat::kMost)
    throw InputError(ConfigKey{"model"},
                     fmt::format("layer '{}': joins {} layers; give 2 to {}, and join more in "
                                 "several steps",
                                 name, values.size(), Concat::kMost));
  const int index = add(name, ConcatLayer{}, values[0]);
  Shape joined = shape(values[0]);
  for (std::size_t i = 1; i < values.size(); ++i) {
    const Shape& other = shape(values[i]);
    const int larger = other.pixels() < joined.pixels() ? values[0] : values[i];
    if (other.height != joined.height || other.width != joined.width)
      throw InputError(
          ConfigKey{"model"},
          fmt::format("layer '{}': cannot join {} and {}; heights and widths must be equal: put "
                      "{{type: upsample, to: {}}} before it, or change a stride or padding",
                      name, described(values[0]), described(values[i]),
                      graph_.layers[static_cast<std::size_t>(larger)].name));
    joined.channels += other.channels;
    graph_.layers.back().inputs.push_back(values[i]);
  }
  graph_.layers.back().shape = joined;
  return index;
}

int GraphBuilder::add_product(const std::string& name, int a, int b) {
  const auto factor = [&](int whole, int part) {
    const Shape &w = shape(whole), &p = shape(part);
    const bool same_map = p.height == w.height && p.width == w.width;
    return (same_map && (p.channels == w.channels || p.channels == 1)) ||
           (p.pixels() == 1 && p.channels == w.channels);
  };
  if (!factor(a, b)) std::swap(a, b);
  if (!factor(a, b))
    throw InputError(
        ConfigKey{"model"},
        fmt::format("layer '{}': cannot multiply {} by {}; shapes must be equal, or one of them "
                    "has 1x1 pixels or 1 channel",
                    name, described(b), described(a)));
  const int index = add(name, MultiplyLayer{}, a);
  graph_.layers.back().inputs.push_back(b);
  return index;
}

std::string GraphBuilder::described(int layer) const {
  const Shape& s = shape(layer);
  return fmt::format("'{}' of {}x{}x{}", graph_.layers[static_cast<std::size_t>(layer)].name,
                     s.height, s.width, s.channels);
}

void GraphBuilder::add_weight(int index, const std::vector<int>& shape, int fan_in, int fan_out) {
  const std::string& name = graph_.layers[static_cast<std::size_t>(index)].name;
  const auto push = [&](const char* suffix, const std::vector<int>& dims, ParameterRole role) {
    graph_.parameters.push_back({name + suffix, dims, index, role, fan_in, fan_out});
  };
  if (graph_.weights != WeightsKind::normalized)
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
    const int area = conv->kernel * conv->kernel, own = channels / conv->groups;
    if (keeps_no_mean(graph_.weights) && own * area == 1)
      throw InputError(ConfigKey{"norm.weights"},
                       fmt::format("a filter of layer '{}' is a single weight, which would become "
                                   "0; use normalized or plain",
                                   layer.name));
    add_weight(index, {conv->out, own, conv->kernel, conv->kernel}, own * area, conv->out * area);
    if (graph_.weights == WeightsKind::scaled_standardized)
      push(".gain", {conv->out}, ParameterRole::gain, 1, 1);
    if (conv->bias) push(".bias", {conv->out}, ParameterRole::bias, 1, 1);
  } else if (const auto* transposed = std::get_if<ConvTransposeLayer>(&layer.kind)) {
    const int area = transposed->kernel * transposed->kernel;
    const int own = transposed->out / transposed->groups;
    // PyTorch's fans, of the second and the first dimension.
    push(".weight", {channels, own, transposed->kernel, transposed->kernel}, ParameterRole::weight,
         own * area, channels * area);
    if (transposed->bias) push(".bias", {transposed->out}, ParameterRole::bias, 1, 1);
  } else if (const auto* linear = std::get_if<LinearLayer>(&layer.kind)) {
    add_weight(index, {linear->out, channels}, channels, linear->out);
    if (linear->bias) push(".bias", {linear->out}, ParameterRole::bias, 1, 1);
  } else if (std::holds_alternative<NormLayer>(layer.kind)) {
    add_norm_parameters(index);
  } else if (const auto* sum = std::get_if<AddLayer>(&layer.kind)) {
    if (sum->scaled) push(".gain", {1}, ParameterRole::branch_gain, 1, 1);
  }
}

void GraphBuilder::add_norm_parameters(int index) {
  graph_.norms.push_back(index);
  const std::string& name = graph_.layers[static_cast<std::size_t>(index)].name;
  const auto [norm, rule] = chosen(name);
  const NormTraits traits = norm.traits();
  const int channels = shape(index).channels;
  if (traits.groups == ChannelGroups::configured) {
    const bool by_width = norm.channels_per_group > 0;
    const int divisor = by_width ? norm.channels_per_group : norm.groups;
    const std::string key = by_width ? "channels_per_group" : "groups";
    const std::string text =
        fmt::format("{} does not divide the {} channels of layer '{}'; use one of {}", divisor,
                    channels, name, divisors_text(channels));
    if (channels % divisor != 0 && rule != nullptr)
      throw InputError(fmt::format("{}: norm.layers: {}: {}", rule->mark, key, text));
    if (channels % divisor != 0) throw InputError(ConfigKey{"norm." + key}, text);
  }
  const auto push = [&](const char* suffix, int count, ParameterRole role) {
    graph_.parameters.push_back({name + suffix, {count}, index, role});
  };
  if (traits.scalars != LayerScalars::none) push(".alpha", 1, ParameterRole::alpha);
  if (traits.scalars == LayerScalars::alpha_and_shift) push(".shift", 1, ParameterRole::shift);
  const bool is_frn = norm.kind == NormKind::frn;
  if (is_frn && shape(index).pixels() == 1) push(".eps", 1, ParameterRole::epsilon);
  if (norm.has_activation())
    push(is_frn ? ".tau" : ".v", channels,
         is_frn ? ParameterRole::threshold : ParameterRole::slope);
  if (norm.kind == NormKind::switchable) {
    push(".mean_weight", 3, ParameterRole::mean_weight);
    push(".var_weight", 3, ParameterRole::var_weight);
  }
  if (!norm.affine) return;
  push(".weight", channels, ParameterRole::gamma);
  if (traits.has_beta) push(".bias", channels, ParameterRole::beta);
}

void GraphBuilder::check_output(int classes, Output output) const {
  const Shape &in = shape(0), &out = shape(last());
  const std::string ends =
      fmt::format("layer '{}': the last layer gives {}x{}x{}", graph_.layers.back().name,
                  out.height, out.width, out.channels);
  if (output == Output::vector && !(out == Shape{1, 1, classes}))
    throw InputError(ConfigKey{"model"},
                     fmt::format("{}, but the data has {} classes; end with a linear "
                                 "layer of {} outputs",
                                 ends, classes, classes));
  if (output == Output::vector) return;
  if (out.channels != classes)
    throw InputError(ConfigKey{"model"},
                     fmt::format("{}, but the data has {} classes for each pixel; end with {} "
                                 "channels, as with {{type: conv, out: {}, kernel: 1}}",
                                 ends, classes, classes, classes));
  if (out.height != in.height || out.width != in.width)
    throw InputError(ConfigKey{"model"},
                     fmt::format("{}, but the data has a label for each of {}x{} pixels; add "
                                 "{{type: upsample, to: input, mode: bilinear}}",
                                 ends, in.height, in.width));
}

Graph GraphBuilder::finish(int classes, Output output) {
  check_patterns();
  check_output(classes, output);
  graph_.output = last();
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
  if (keeps_no_mean(graph_.weights) && !convolves)
    throw InputError(ConfigKey{"norm.weights"},
                     fmt::format("{} acts on convolutions, and this model has none; use normalized "
                                 "or plain",
                                 name_of(graph_.weights)));
  if (graph_.parameters.empty())
    throw InputError(ConfigKey{"model.layers"},
                     "the model has nothing to train; add a linear or conv layer");
  return graph_;
}

}  // namespace syncnorm
