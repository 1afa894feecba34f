// Turns each LayerSpec into a layer; the schema has already checked which fields a type takes.
#include "engine/model/custom.h"

#include <map>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {
namespace {

LayerKind layer_kind(const LayerSpec& s) {
  const int stride = s.stride;
  if (s.type == "conv") return ConvLayer{s.out, s.kernel, stride, s.padding, s.bias};
  if (s.type == "linear") return LinearLayer{s.out, s.bias};
  if (s.type == "max_pool") return PoolLayer{PoolKind::max, s.kernel, stride, s.padding};
  if (s.type == "average_pool") return PoolLayer{PoolKind::average, s.kernel, stride, s.padding};
  if (s.type == "global_pool") return PoolLayer{PoolKind::average, 0, 1, 0};
  if (s.type == "norm") return NormLayer{};
  if (s.type == "dropout" || s.type == "alpha_dropout")
    return DropoutLayer{s.p, s.type == "alpha_dropout"};
  if (s.type == "flatten") return FlattenLayer{};
  static const std::map<std::string, Activation> activations = {
      {"relu", Activation::relu}, {"sigmoid", Activation::sigmoid}, {"tanh", Activation::tanh},
      {"elu", Activation::elu},   {"selu", Activation::selu},       {"gelu", Activation::gelu}};
  if (const auto found = activations.find(s.type); found != activations.end())
    return ActivationLayer{found->second};
  throw InputError(fmt::format("there is no layer type '{}'", s.type));
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
    const std::string name = spec.name.empty() ? fmt::format("{}{}", spec.type, number) : spec.name;
    try {
      const int input = spec.input.empty() ? builder.last() : find(spec.input);
      if (spec.type == "norm" && !builder.norm().traits().layer) {
        by_name[name] = input;
        continue;
      }
      by_name[name] = spec.type == "add" ? builder.add_sum(name, input, find(spec.from))
                                         : builder.add(name, layer_kind(spec), input);
    } catch (const InputError& error) {
      const bool own = error.key().empty() || error.key() == "model";
      throw InputError(
          fmt::format("{}: model.layers: {}", spec.mark, own ? error.message() : error.what()));
    }
  }
}

}  // namespace syncnorm
