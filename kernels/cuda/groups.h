// Groups of channels within samples: a warp per sample and group adds the group's channels, in an
// order that depends only on their number.
#pragma once

#include "kernels/cuda/columns.h"
#include "kernels/norm_channel.h"

namespace syncnorm::cuda {

constexpr int kWarp = 32;

/// This warp's sample and group. The warp is idle when `sample` is past the last.
struct GroupPlace {
  int sample, group, lane;
};

__device__ __forceinline__ GroupPlace own_group(int groups) {
  const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / kWarp);
  return {warp / groups, warp % groups, static_cast<int>(threadIdx.x % kWarp)};
}

/// Sums over `lanes` neighbouring lanes, a power of two, in a fixed tree. Returns the same total in
/// each of them. All lanes of the warp must call this.
__device__ __forceinline__ double lanes_total(double value, int lanes = kWarp) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    if (distance < lanes) value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
  return value;
}

/// The blocks for a warp per sample and group.
inline dim3 group_warps(int samples, int groups) {
  const std::size_t threads =
      static_cast<std::size_t>(samples) * static_cast<std::size_t>(groups) * kWarp;
  return dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads));
}

/// The statistics that group norms need; without `centered` the mean is 0.
struct GroupShape {
  int samples, pixels, channels, groups;
  bool centered;
};

/// sums [samples, 2, C]: Σx, Σx² -> mean [samples, 2, C], inv_std [samples, C]. A kernel calls this
/// with a warp per sample and group.
__device__ __forceinline__ void write_group_statistics(const GroupShape& shape, double eps,
                                                       const double* sums, float* mean,
                                                       float* inv_std) {
  const GroupPlace place = own_group(shape.groups);
  const int width = shape.channels / shape.groups, first = place.group * width;
  const bool active = place.sample < shape.samples;
  const auto at = static_cast<std::size_t>(active ? place.sample : 0) *
                  static_cast<std::size_t>(shape.channels);
  double sum = 0.0, square = 0.0;
  if (active)
    for (int c = first + place.lane; c < first + width; c += kWarp) {
      sum += sums[2 * at + c];
      square += sums[2 * at + shape.channels + c];
    }
  sum = lanes_total(sum);
  square = lanes_total(square);
  if (!active) return;
  const double count = static_cast<double>(shape.pixels) * width;
  const MeanVariance m = from_sums(count, shape.centered ? sum : 0.0, square);
  for (int c = first + place.lane; c < first + width; c += kWarp) {
    split_mean(m.mean, mean[2 * at + c], mean[2 * at + shape.channels + c]);
    inv_std[at + c] = static_cast<float>(inverse_std(m.variance, eps));
  }
}

}  // namespace syncnorm::cuda
