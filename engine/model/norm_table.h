// The norm of every layer, as text.
#pragma once

#include <string>

#include "engine/model/graph.h"

namespace syncnorm {

/// Returns what the norm is, for example "group, 8 groups of channels"; `channels` are the layer's.
std::string norm_text(const NormConfig& norm, int channels);

/// Returns one line per norm layer of the graph: name, shape, norm.
std::string norm_table(const Graph& graph);

}  // namespace syncnorm
