// Conversion of weights between PyTorch's layout and that of the convolutions, and the bias, on the
// context's stream.
#pragma once

#include "kernels/cuda/context.h"

namespace syncnorm::cuda {

/// [filters, channels, k, k] f32 -> [filters, k, k, channels] in `storage`.
void pack_weights(Context&, const ConvShape&, Storage, const float* weight, void* packed);

/// [filters, k, k, channels] in `storage` -> [filters, channels, k, k] f32.
void unpack_weight_gradient(Context&, const ConvShape&, Storage storage, const void* packed,
                            float* dweight);

/// y [rows, channels] += bias [channels].
void add_bias(Context&, Storage, std::size_t rows, int channels, const float* bias, void* y);

/// dbias [channels] = Σ over rows of dy [rows, channels]. `scratch` has bias_scratch_bytes().
void bias_gradient(Context&, Storage, std::size_t rows, int channels, const void* dy,
                   double* scratch, float* dbias);
std::size_t bias_scratch_bytes(std::size_t rows, int channels);

}  // namespace syncnorm::cuda
