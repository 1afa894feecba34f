// Random initial values, with one Philox stream per parameter.
#include "engine/model/initialize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/philox.h"

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

/// Fills a gain with the 2-norms of the rows of its layer's weight.
void fill_with_row_norms(const Graph& graph, const Parameter& gain, const ModelConfig& config,
                         std::uint64_t seed, std::span<float> values) {
  const int index = graph.parameter(gain.layer, ParameterRole::weight);
  std::vector<float> weight(graph.parameters[static_cast<std::size_t>(index)].count());
  initialize_parameter(graph, index, config, seed, weight);
  const std::size_t inputs = weight.size() / values.size();
  for (std::size_t o = 0; o < values.size(); ++o) {
    double square = 0.0;
    for (const float w : std::span(weight).subspan(o * inputs, inputs))
      square += static_cast<double>(w) * static_cast<double>(w);
    values[o] = static_cast<float>(std::sqrt(square));
  }
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
    case ParameterRole::gain:
      if (graph.weights == WeightsKind::normalized)
        fill_with_row_norms(graph, parameter, config, seed, values);
      else  // Brock et al. 2021
        std::fill(values.begin(), values.end(), 1.0f);
      break;
    case ParameterRole::gamma: {
      const auto& kind = graph.layers[static_cast<std::size_t>(parameter.layer)].kind;
      std::fill(values.begin(), values.end(), std::get<NormLayer>(kind).zero_gamma ? 0.0f : 1.0f);
      break;
    }
    case ParameterRole::alpha:  // Zhu et al. 2025 and Chen et al. 2025
      std::fill(values.begin(), values.end(), 0.5f);
      break;
    case ParameterRole::epsilon:  // Singh & Krishnan 2020
      std::fill(values.begin(), values.end(), 1e-4f);
      break;
    case ParameterRole::slope:        // the code of Liu et al. 2020
    case ParameterRole::mean_weight:  // Luo et al. 2018
    case ParameterRole::var_weight:
      std::fill(values.begin(), values.end(), 1.0f);
      break;
    case ParameterRole::bias:
    case ParameterRole::beta:
    case ParameterRole::shift:
    case ParameterRole::threshold:    // Singh & Krishnan 2020
    case ParameterRole::branch_gain:  // De & Smith 2020
      std::fill(values.begin(), values.end(), 0.0f);
      break;
  }
}

}  // namespace syncnorm
