// Turns each LayerSpec into a layer. The schema has already checked which fields a type has.
#include "engine/model/custom.h"

#include <map>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/config/names.h"

namespace syncnorm {
namespace {

/// Returns the layer of a spec of any type except `add`, which has two inputs.
LayerKind layer_kind(const LayerSpec& s) {
  switch (s.type) {
    case LayerType::conv:
      return ConvLayer{s.out, s.kernel, s.stride, s.padding, s.bias, 1.0, s.dilation, s.groups};
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
      return AddLayer{};
    case LayerType::flatten:
      return FlattenLayer{};
  }
  return FlattenLayer{};
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
      by_name[name] = spec.type == LayerType::add ? builder.add_sum(name, input, find(spec.from))
                                                  : builder.add(name, layer_kind(spec), input);
    } catch (const InputError& error) {
      const bool own = error.key().empty() || error.key() == "model";
      throw InputError(
          fmt::format("{}: model.layers: {}", spec.mark, own ? error.message() : error.what()));
    }
  }
}

}  // namespace syncnorm
