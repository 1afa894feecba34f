// Models written as a list of layers in YAML (`model.layers`).
#pragma once

#include <vector>

#include "engine/model/graph.h"

namespace syncnorm {

/// Adds the layers in order. A layer reads the one before it, or `input`; `add` sums it and `from`.
/// Throws InputError "file:line:column: layer 'name': ..." for what does not fit.
void add_custom_layers(GraphBuilder& builder, const std::vector<LayerSpec>& layers);

}  // namespace syncnorm
