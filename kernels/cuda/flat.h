// Maps over flat arrays: a thread processes kUnroll vectors of V values, and the last thread also
// the values that do not fill a vector. Each value is computed independently, so the results do not
// depend on where a range is split.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "kernels/cuda/columns.h"

namespace syncnorm::cuda {

/// Body: kWidth; at<V>(i) computes the V values starting at i.
template <class Body>
__global__ void __launch_bounds__(kThreads) map_flat(Body body, std::size_t count) {
  constexpr int V = Body::kWidth, kUnroll = 4;
  const std::size_t tile = static_cast<std::size_t>(kThreads) * V * kUnroll;
  const std::size_t first = blockIdx.x * tile + threadIdx.x * static_cast<std::size_t>(V);
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const std::size_t i = first + static_cast<std::size_t>(u) * kThreads * V;
    if (i + V <= count) {
      body.template at<V>(i);
    } else {
      for (std::size_t j = i; j < count; ++j) body.template at<1>(j);
    }
  }
}

template <class Body>
void run_flat(cudaStream_t stream, const Body& body, std::size_t count) {
  if (count == 0) return;
  const std::size_t tile = static_cast<std::size_t>(kThreads) * Body::kWidth * 4;
  launch(map_flat<Body>, dim3(static_cast<unsigned>((count + tile - 1) / tile)), dim3(kThreads), 0,
         stream, body, count);
}

/// Sums over the block's threads, in a fixed tree. Returns the same total in every thread.
__device__ __forceinline__ double block_total(double value) {
  __shared__ double shared[kThreads];
  shared[threadIdx.x] = value;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  __syncthreads();
  const double total = shared[0];
  __syncthreads();
  return total;
}

inline std::size_t values(int samples, int size) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(size);
}

}  // namespace syncnorm::cuda
