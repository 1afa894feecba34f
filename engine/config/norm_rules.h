// norm.layers: other norms for some of the layers.
//
// An entry has `match` and any keys of `norm` that may differ from layer to layer. Keys that it
// leaves out have the values of `norm`, whatever layer of the configuration gives those.
#pragma once

#include "engine/config/schema.h"

namespace syncnorm::config {

/// The row of norm.layers. Its entries are resolved later, by resolve_norm_rules().
SchemaKey norm_layers_key();

/// Reads and checks all entries on top of the draft's `norm`, into Experiment::norm_rules.
void resolve_norm_rules(const Schema& schema, Draft& draft, Problems& problems);

}  // namespace syncnorm::config
