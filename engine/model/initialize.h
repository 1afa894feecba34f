// Initial values of parameters.
#pragma once

#include <cstdint>
#include <span>

#include "engine/model/graph.h"

namespace syncnorm {

/// Fills `values` with the initial values of parameter `index`: weights are normal with variance
/// 2/fan_in (He et al. 2015), 1/fan_in (LeCun et al. 1998), 2/(fan_in + fan_out) (Glorot & Bengio
/// 2010) or initialization_std²; biases and β are 0; γ is 1, or 0 for a layer with zero_gamma
/// (Goyal et al. 2017); the gain of a residual branch is 0 (De & Smith 2020); the gain of a
/// normalized weight is the norm of its row of v, so that the layer begins with w = v
/// (torch.nn.utils.weight_norm). Depends only on (seed, index).
void initialize_parameter(const Graph& graph, int index, const ModelConfig& config,
                          std::uint64_t seed, std::span<float> values);

}  // namespace syncnorm
