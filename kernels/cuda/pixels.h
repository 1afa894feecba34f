// Maps over the pixels of [samples, height, width, channels]: a thread has V neighbouring channels
// of one pixel.
#pragma once

#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {

/// V channels of one pixel: this thread's share of [samples, height, width, channels].
struct PixelPlace {
  int c, w, h;
  std::size_t n;
};
/// Divides in 32 bits where the number of the thread's vector fits.
template <int V>
__device__ __forceinline__ PixelPlace place_of(std::size_t vector, int height, int width,
                                               int channels) {
  const auto divide = [&]<class Index>(Index i) -> PixelPlace {
    const auto vectors = static_cast<Index>(channels / V);
    const auto c = static_cast<int>(i % vectors) * V;
    i /= vectors;
    const auto w = static_cast<int>(i % static_cast<Index>(width));
    i /= static_cast<Index>(width);
    return {c, w, static_cast<int>(i % static_cast<Index>(height)),
            static_cast<std::size_t>(i / static_cast<Index>(height))};
  };
  if (vector <= 0xFFFFFFFFu) return divide(static_cast<unsigned>(vector));
  return divide(vector);
}

template <class Body>
__global__ void __launch_bounds__(kThreads) map_vectors(Body body, std::size_t count) {
  const std::size_t i = blockIdx.x * static_cast<std::size_t>(kThreads) + threadIdx.x;
  if (i < count) body.at(i);
}

/// Runs body.at(i) for every vector of `width` channels.
template <class Body>
void run_vectors(Context& context, const Body& body, std::size_t values, int width) {
  const std::size_t count = values / static_cast<std::size_t>(width);
  if (count == 0) return;
  launch(map_vectors<Body>, dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)),
         dim3(kThreads), 0, context.stream, body, count);
}

inline std::size_t count_of(int samples, int height, int width, int channels) {
  return values(samples, height) * values(width, channels);
}

}  // namespace syncnorm::cuda
