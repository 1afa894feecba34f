// Random starts, one Philox stream per parameter.
#include "engine/model/initialize.h"

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"

namespace syncnorm {
namespace {

double weight_std(const Parameter& parameter, const ModelConfig& config) {
  switch (config.initialization) {
    case InitializationKind::he:
      return std::sqrt(2.0 / parameter.fan_in);
    case InitializationKind::lecun:
      return std::sqrt(1.0 / parameter.fan_in);
    case InitializationKind::xavier:
      return std::sqrt(2.0 / (parameter.fan_in + parameter.fan_out));
    case InitializationKind::gaussian:
      return config.initialization_std;
  }
  return 0.0;
}

}  // namespace

void initialize_parameter(const Graph& graph, int index, const ModelConfig& config,
                          std::uint64_t seed, std::span<float> values) {
  const Parameter& parameter = graph.parameters[static_cast<std::size_t>(index)];
  switch (parameter.role) {
    case ParameterRole::weight: {
      const auto deviation = static_cast<float>(weight_std(parameter, config));
      RandomStream random(seed, RandomPurpose::initialization, 0,
                          static_cast<std::uint64_t>(index));
      for (float& value : values) value = deviation * random.normal();
      break;
    }
    case ParameterRole::gamma: {
      const auto& kind = graph.layers[static_cast<std::size_t>(parameter.layer)].kind;
      std::fill(values.begin(), values.end(), std::get<NormLayer>(kind).zero_gamma ? 0.0f : 1.0f);
      break;
    }
    case ParameterRole::bias:
    case ParameterRole::beta:
      std::fill(values.begin(), values.end(), 0.0f);
      break;
  }
}

}  // namespace syncnorm
