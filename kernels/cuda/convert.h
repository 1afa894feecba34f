// Conversions between f32 and bf16 on the context's stream.
#pragma once

#include "kernels/cuda/context.h"

namespace syncnorm::cuda {

/// y [count] = x [count], rounded to nearest where `to` is narrower.
void convert(Context&, Storage from, Storage to, const void* x, void* y, std::size_t count);

}  // namespace syncnorm::cuda
