// The copies to which `syncnorm bench norm` compares the kernels: as in STREAM, one array is read
// and another written, on one core.
#pragma once

#include <cstddef>

namespace syncnorm {

/// Copies with ordinary stores. The processor reads each line of `to` before overwriting it, a
/// third pass that the reported two do not include. Arrays are 64-byte aligned.
void copy_plainly(const float* from, float* to, std::size_t count);

/// Copies with non-temporal stores, which bypass the caches and avoid that read.
void copy_past_caches(const float* from, float* to, std::size_t count);

}  // namespace syncnorm
