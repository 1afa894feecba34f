// The model zoo: architectures by name, and models from a list of layers in YAML.
#pragma once

#include "engine/model/graph.h"

namespace syncnorm {

/// Builds the experiment's model for images of shape `input` and `classes` classes, of the image or
/// of each pixel. Throws InputError if the model does not fit the images or gives the other output.
Graph build_model(const Experiment& experiment, Shape input, int classes,
                  Output output = Output::vector);

/// Builds the experiment's model without opening its data, whose kind determines the shape of
/// images. A folder's classes are taken to be as many as the model has outputs.
Graph build_model_without_data(const Experiment& experiment, Output output = Output::vector);

}  // namespace syncnorm
