// The model zoo: architectures by name, and models from a list of layers in YAML.
#pragma once

#include "engine/model/graph.h"

namespace syncnorm {

/// Builds the experiment's model for images of `input` and `classes` classes. Throws InputError for
/// a model that does not fit the images.
Graph build_model(const Experiment& experiment, Shape input, int classes);

}  // namespace syncnorm
