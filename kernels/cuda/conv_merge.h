// Convolutions of many replicas in one call.
//
// Results must not depend on how many replicas a rank computes, so a call for all of them may take
// the place of one call for each only where it gives every image the same bits. A convolution's
// engine decides that: how it divides the work among blocks may depend on the number of images. So
// the engine that one replica's samples get is asked to do all of them, and both ways are run on
// random numbers.
#pragma once

#include "kernels/cuda/context.h"

namespace syncnorm::cuda {

/// Returns true if `op`, a convolution or its input gradient on one replica's samples, gives the
/// same bits when its engine does the samples of `replicas` replicas in one call; false for other
/// operations, and where there is no memory to try it. Then compile() makes the kernel for that
/// many samples with this engine.
bool merges_convolution(Context&, const Op& op, int replicas);

}  // namespace syncnorm::cuda
