// The model zoo: architectures by name, and models from a list of layers in YAML.
#pragma once

#include <string>
#include <vector>

#include "engine/model/graph.h"

namespace syncnorm {

/// Names that model.architecture takes, in the order of the documentation.
std::vector<std::string> zoo_names();

/// Builds the experiment's model for images of `input` and `classes` classes. Throws InputError for
/// a name that is not in the zoo or a model that does not fit the images.
Graph build_model(const Experiment& experiment, Shape input, int classes);

}  // namespace syncnorm
