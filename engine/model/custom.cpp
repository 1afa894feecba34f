// Turns each LayerSpec into a layer. The schema has already checked which fields a type has.
#include "engine/model/custom.h"

#include <algorithm>
#include <climits>
#include <map>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/config/names.h"

namespace syncnorm {
namespace {

/// Returns the layer of a spec of any type that reads one layer and nothing else.
LayerKind layer_kind(const LayerSpec& s) {
  switch (s.type) {
    case LayerType::conv:
      return ConvLayer{s.out, s.kernel, s.stride, s.padding, s.bias, 1.0, s.dilation, s.groups};
    case LayerType::conv_transpose:
      return ConvTransposeLayer{
          s.out,  s.kernel,   s.stride, s.padding, {s.output_padding, s.output_padding},
          s.bias, s.dilation, s.groups};
    case LayerType::linear:
      return LinearLayer{s.out, s.bias};
    case LayerType::max_pool:
      return PoolLayer{PoolKind::max, s.kernel, s.stride, s.padding};
    case LayerType::average_pool:
      return PoolLayer{PoolKind::average, s.kernel, s.stride, s.padding};
    case LayerType::global_pool:
      return PoolLayer{PoolKind::average, 0, 1, 0};
    case LayerType::norm:
      return NormLayer{};
    case LayerType::relu:
      return ActivationLayer{Activation::relu};
    case LayerType::sigmoid:
      return ActivationLayer{Activation::sigmoid};
    case LayerType::tanh:
      return ActivationLayer{Activation::tanh};
    case LayerType::elu:
      return ActivationLayer{Activation::elu};
    case LayerType::selu:
      return ActivationLayer{Activation::selu};
    case LayerType::gelu:
      return ActivationLayer{Activation::gelu};
    case LayerType::silu:
      return ActivationLayer{Activation::silu};
    case LayerType::hard_swish:
      return ActivationLayer{Activation::hard_swish};
    case LayerType::dropout:
      return DropoutLayer{s.p, false};
    case LayerType::alpha_dropout:
      return DropoutLayer{s.p, true};
    case LayerType::add:
    case LayerType::upsample:
    case LayerType::concat:
    case LayerType::multiply:
      break;
    case LayerType::flatten:
      return FlattenLayer{};
  }
  return FlattenLayer{};
}

UpsampleLayer upsample(const LayerSpec& s, const Shape& in, const Shape& to) {
  const bool scaled = s.scale > 0;
  // A factor that no map can have stays an extent that is refused.
  const auto extent = [&](int from, int other) {
    return scaled ? static_cast<int>(std::min<long long>(1LL * from * s.scale, INT_MAX)) : other;
  };
  return {s.mode, extent(in.height, to.height), extent(in.width, to.width), s.align_corners};
}

}  // namespace

void add_custom_layers(GraphBuilder& builder, const std::vector<LayerSpec>& layers) {
  std::map<std::string, int> by_name = {{"input", 0}};
  const auto find = [&](const std::string& name) {
    const auto found = by_name.find(name);
    if (found == by_name.end())
      throw InputError(
          fmt::format("there is no layer '{}' before this one; give that layer a name", name));
    return found->second;
  };
  const auto add = [&](const LayerSpec& spec, const std::string& name, int input) {
    if (spec.type == LayerType::add) return builder.add_sum(name, input, find(spec.from[0]));
    if (spec.type == LayerType::multiply)
      return builder.add_product(name, input, find(spec.from[0]));
    if (spec.type == LayerType::concat) {
      std::vector<int> values = {input};
      for (const std::string& other : spec.from) values.push_back(find(other));
      return builder.add_concat(name, values);
    }
    if (spec.type == LayerType::upsample) {
      const Shape to = spec.to.empty() ? Shape{} : builder.shape(find(spec.to));
      return builder.add(name, upsample(spec, builder.shape(input), to), input);
    }
    return builder.add(name, layer_kind(spec), input);
  };
  int number = 0;
  for (const LayerSpec& spec : layers) {
    ++number;
    const std::string name =
        spec.name.empty() ? fmt::format("{}{}", name_of(spec.type), number) : spec.name;
    try {
      const int input = spec.input.empty() ? builder.last() : find(spec.input);
      if (spec.type == LayerType::norm && !builder.norm(name).traits().layer) {
        by_name[name] = input;
        continue;
      }
      by_name[name] = add(spec, name, input);
    } catch (const InputError& error) {
      const bool own = error.key().empty() || error.key() == "model";
      throw InputError(
          fmt::format("{}: model.layers: {}", spec.mark, own ? error.message() : error.what()));
    }
  }
}

}  // namespace syncnorm
