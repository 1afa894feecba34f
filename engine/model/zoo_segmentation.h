// Networks that give a class for each pixel: makers of the zoo. Each ends in a map of the input's
// height and width. Throw InputError if images are too small.
#pragma once

#include "engine/model/graph.h"

namespace syncnorm {

/// Ronneberger et al. 2015, with norms and padded convolutions; names as in milesial's code.
void unet(GraphBuilder& b, const ModelConfig& m, int classes);

/// Chen et al. 2017, with torchvision's names and shapes.
void deeplabv3(GraphBuilder& b, const ModelConfig& m, int classes);

/// Chaurasia & Culurciello 2017; the encoder has torchvision's names, the decoder those of the
/// authors' code.
void linknet(GraphBuilder& b, const ModelConfig& m, int classes);

}  // namespace syncnorm
