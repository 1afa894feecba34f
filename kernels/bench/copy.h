// The copy that `syncnorm bench norm` holds the kernels against, as STREAM has it: one array is
// read, another one is written, on one core.
#pragma once

#include <cstddef>

namespace syncnorm {

/// With ordinary stores: a processor reads each line of `to` before it overwrites it, which the two
/// passes that are counted do not show. Arrays are 64-byte aligned.
void copy_plainly(const float* from, float* to, std::size_t count);

/// With non-temporal stores, which go past the caches and save that read.
void copy_past_caches(const float* from, float* to, std::size_t count);

}  // namespace syncnorm
