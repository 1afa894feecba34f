// Models written as a list of layers in YAML (`model.layers`).
#pragma once

#include <vector>

#include "engine/model/graph.h"

namespace syncnorm {

/// Adds the layers in order. A layer reads the previous one, or `input`; `add` sums that and
/// `from`. Throws InputError "file:line:column: layer 'name': ..." for a layer that does not fit.
void add_custom_layers(GraphBuilder& builder, const std::vector<LayerSpec>& layers);

}  // namespace syncnorm
