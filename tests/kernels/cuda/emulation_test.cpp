// The emulated CUDA runtime itself: places, barriers, shuffles, and that it sees what a device
// would punish: a missing barrier, and one that not all threads reach.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda/launch.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

using emulation::Order;

template <class... Parameters, class... Arguments>
void run(void (*kernel)(Parameters...), dim3 grid, dim3 block, Arguments... arguments) {
  cuda::launch(kernel, grid, block, 0, nullptr, arguments...);
}

__global__ void count_visits(int* visits) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  ++visits[block * blockDim.x * blockDim.y * blockDim.z + thread];
}

TEST(Emulation, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> visits(3 * 2 * 2 * 5 * 3 * 2);
  run(count_visits, dim3(3, 2, 2), dim3(5, 3, 2), visits.data());
  EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
}

/// Each thread reads what its neighbour wrote; with `safe`, behind a barrier.
__global__ void rotate(int* values, bool safe) {
  __shared__ int shared[64];
  shared[threadIdx.x] = -1;
  __syncthreads();
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (safe) __syncthreads();
  values[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

std::vector<int> rotated(bool safe, Order order) {
  std::vector<int> values(64);
  emulation::set_order(order);
  run(rotate, dim3(1), dim3(64), values.data(), safe);
  emulation::set_order(Order::forward);
  return values;
}

TEST(Emulation, ABarrierMakesTheOrderOfThreadsIrrelevant) {
  const std::vector<int> values = rotated(true, Order::forward);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], (i + 1) % 64);
  EXPECT_EQ(rotated(true, Order::backward), values);
}

TEST(Emulation, AMissingBarrierShowsInTheOtherOrder) {
  EXPECT_NE(rotated(false, Order::forward), rotated(false, Order::backward));
}

__global__ void add_warp(double* sums) {
  double value = threadIdx.x;
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
  sums[threadIdx.x] = value;
}

TEST(Emulation, AShuffleReachesItsWarpOnly) {
  std::vector<double> sums(96);
  run(add_warp, dim3(1), dim3(96), sums.data());
  for (std::size_t i = 0; i < 96; ++i)
    EXPECT_EQ(sums[i], 32.0 * (32.0 * static_cast<double>(i / 32)) + 496.0);
}

__global__ void some_wait(int* values) {
  if (threadIdx.x < 7) __syncthreads();
  values[threadIdx.x] = 1;
}
__global__ void some_shuffle(int* values) {
  if (threadIdx.x < 7) values[threadIdx.x] = __shfl_xor_sync(0x7Fu, 1, 1);
}

TEST(EmulationDeathTest, WhatWouldHangADeviceEndsTheProgram) {
  std::vector<int> values(64);
  EXPECT_DEATH(run(some_wait, dim3(1), dim3(64), values.data()), "barrier misses some");
  EXPECT_DEATH(run(some_shuffle, dim3(1), dim3(64), values.data()), "misses some of its threads");
  EXPECT_DEATH(run(count_visits, dim3(1), dim3(2048), values.data()), "too many threads");
  EXPECT_DEATH(run(count_visits, dim3(1, 70000), dim3(1), values.data()), "65535");
}

}  // namespace
}  // namespace syncnorm::test
