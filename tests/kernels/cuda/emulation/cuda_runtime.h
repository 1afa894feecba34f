// Stands in for the CUDA runtime, so that the kernels of kernels/cuda run on the CPU in tests.
//
// Found instead of the toolkit's header of the same name, by the include path alone. A launch runs
// its blocks one after another; the threads of a block are fibers of the calling thread that change
// places at barriers and shuffles (grid.cpp). `__shared__` is a static variable, because only one
// block runs at a time. Device memory is host memory.
//
// Only what kernels/cuda uses is here. A barrier that some threads of a block do not reach, a
// shuffle with a thread that has left, or more shared memory than a block has, ends the program
// with a message: on a device it would hang or read garbage.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>

// The names are CUDA's.
// NOLINTBEGIN(bugprone-reserved-identifier)
#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace syncnorm::emulation {

/// Where the running thread stands; what threadIdx and its kin are names for.
struct Place {
  dim3 thread, block, block_size, grid_size;
};
extern Place place;

using Body = void (*)(const void* closure);
/// Runs `body(closure)` once per thread of the grid.
void run_grid(dim3 grid, dim3 block, Body body, const void* closure);

/// Waits for all threads of the block, or of the warp.
void block_barrier();
void warp_barrier();
/// The value of another lane of the running thread's warp; all lanes of the warp must call.
std::uint64_t exchange(std::uint64_t bits, unsigned lane);
unsigned lane();

/// Order in which threads and blocks take turns. A kernel whose result depends on it misses a
/// barrier.
enum class Order { forward, backward };
void set_order(Order order);

/// Launches since the program began.
std::uint64_t launches();

/// Allocations of device and pinned memory since the program began.
std::uint64_t device_allocations();
/// The size of the emulated device's memory, which holds as much as the host's does.
inline constexpr std::size_t kDeviceBytes = std::size_t{1} << 40;

template <class T>
T exchanged(T value, unsigned from) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(bits, from);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace syncnorm::emulation

inline const dim3& threadIdx = syncnorm::emulation::place.thread;
inline const dim3& blockIdx = syncnorm::emulation::place.block;
inline const dim3& blockDim = syncnorm::emulation::place.block_size;
inline const dim3& gridDim = syncnorm::emulation::place.grid_size;

inline void __syncthreads() { syncnorm::emulation::block_barrier(); }
inline void __syncwarp() { syncnorm::emulation::warp_barrier(); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return syncnorm::emulation::exchanged(value,
                                        syncnorm::emulation::lane() ^ static_cast<unsigned>(mask));
}

// The host's half of the runtime, as far as kernels/cuda calls it.
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorMemoryAllocation = 2,
  cudaErrorNotReady = 600,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureUnjoined = 904
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaMemcpyKind { cudaMemcpyDefault = 4 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;
constexpr unsigned cudaHostAllocDefault = 0;

struct cudaUUID_t {
  char bytes[16] = {};
};
struct cudaDeviceProp {
  cudaUUID_t uuid;
  char name[256] = "emulated on the CPU";
  int major = 8, minor = 0, multiProcessorCount = 1;
};

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMemGetInfo(std::size_t* available, std::size_t* total);
cudaError_t cudaMalloc(void** pointer, std::size_t bytes);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaMemcpyAsync(void*, const void*, std::size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void*, int, std::size_t, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventQuery(cudaEvent_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);
cudaError_t cudaGetLastError();

namespace syncnorm::emulation {
bool is_recorded(cudaStream_t stream);
/// Runs `work`, or keeps it where the stream is recorded.
cudaError_t queue(cudaStream_t stream, std::function<void()> work);
}  // namespace syncnorm::emulation

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  // As on a device, the arguments are copied by the launch.
  const auto work = [kernel, grid = config->gridDim, block = config->blockDim,
                     kept = std::tuple<Parameters...>(arguments...)] {
    const auto call = [&] { std::apply(kernel, kept); };
    syncnorm::emulation::run_grid(
        grid, block, [](const void* closure) { (*static_cast<decltype(&call)>(closure))(); },
        &call);
  };
  if (syncnorm::emulation::is_recorded(config->stream))
    return syncnorm::emulation::queue(config->stream, work);
  work();
  return cudaSuccess;
}
// NOLINTEND(bugprone-reserved-identifier)
