// The bias of convolutions and linear layers on the context's stream.
#pragma once

#include "kernels/cuda/context.h"

namespace syncnorm::cuda {

/// y [rows, channels] += bias [channels].
void add_bias(Context&, Storage, std::size_t rows, int channels, const float* bias, void* y);

/// dbias [channels] = Σ over rows of dy [rows, channels]. `scratch` has bias_scratch_bytes().
void bias_gradient(Context&, Storage, std::size_t rows, int channels, const void* dy,
                   double* scratch, float* dbias);
std::size_t bias_scratch_bytes(std::size_t rows, int channels);

}  // namespace syncnorm::cuda
