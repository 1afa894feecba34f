// Kernels with a few lanes of a warp per row of a matrix [rows, channels]; their number depends
// only on the number of channels.
#pragma once

#include "kernels/cuda/groups.h"

namespace syncnorm::cuda {

/// The lanes of a row: a power of two.
inline int lanes_of(int channels) {
  int lanes = 1;
  while (lanes < channels && lanes < kWarp) lanes *= 2;
  return lanes;
}

/// This thread's row and lane. Threads behind the last row compute along on row 0, as all lanes of
/// a warp must take part in its sums, and write nothing.
struct RowPlace {
  std::size_t row;
  int lane;
  bool active;
};

__device__ __forceinline__ RowPlace own_place(std::size_t rows, int lanes) {
  const std::size_t thread = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x;
  const std::size_t row = thread / static_cast<std::size_t>(lanes);
  return {row < rows ? row : 0, static_cast<int>(threadIdx.x) % lanes, row < rows};
}

inline dim3 row_blocks(std::size_t rows, int lanes) {
  const std::size_t threads = rows * static_cast<std::size_t>(lanes);
  return dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads));
}

}  // namespace syncnorm::cuda
