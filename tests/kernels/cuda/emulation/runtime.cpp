// The host's half of the emulated runtime: device memory is host memory, and a stream has always
// finished. While a stream is recorded, what is called on it is kept and not run; as on a device, a
// stream joins by waiting for an event of one that is recorded, must be waited for before the end,
// and nothing may allocate or wait meanwhile.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/emulation/cuda_runtime.h"

using Work = std::vector<std::function<void()>>;

struct CUstream_st {
  bool recorded = false;
  bool loose = false;  // holds recorded work that the first recorded stream does not wait for
};
struct CUevent_st {
  CUstream_st* recorded = nullptr;  // of this stream
};
struct CUgraph_st {
  Work work;
};
struct CUgraphExec_st {
  Work work;
};

namespace {

struct Capture {
  CUstream_st* origin = nullptr;
  std::set<CUstream_st*> streams;
  Work work;
};
Capture capture;

std::atomic<std::uint64_t> allocations{0};
std::atomic<std::size_t> used{0};  // bytes of device and pinned memory

}  // namespace

namespace syncnorm::emulation {

std::uint64_t device_allocations() { return allocations; }

bool is_recorded(cudaStream_t stream) { return stream != nullptr && stream->recorded; }

cudaError_t queue(cudaStream_t stream, std::function<void()> work) {
  if (!is_recorded(stream)) {
    work();
    return cudaSuccess;
  }
  stream->loose = stream != capture.origin;
  capture.work.push_back(std::move(work));
  return cudaSuccess;
}

}  // namespace syncnorm::emulation

using syncnorm::emulation::queue;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorStreamCaptureUnsupported:
      return "this cannot be done while a stream is recorded";
    case cudaErrorStreamCaptureUnjoined:
      return "a recorded stream was not joined";
    default:
      return "an error of the emulated device";
  }
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* available, std::size_t* total) {
  *total = syncnorm::emulation::kDeviceBytes;
  *available = *total - used;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  if (capture.origin != nullptr) return cudaErrorStreamCaptureUnsupported;
  // Not rounded up, so that the address sanitizer sees the first byte behind it.
  if (posix_memalign(pointer, 256, bytes) != 0) return cudaErrorMemoryAllocation;
  ++allocations;
  used += malloc_usable_size(*pointer);
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  used -= malloc_usable_size(pointer);
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  return cudaMalloc(pointer, bytes);
}
cudaError_t cudaFreeHost(void* pointer) { return cudaFree(pointer); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  return queue(stream, [=] { std::memmove(to, from, bytes); });
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return queue(stream, [=] { std::memset(to, value, bytes); });
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return stream->recorded ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->recorded == nullptr) return cudaSuccess;
  if (stream == capture.origin) {
    event->recorded->loose = false;
  } else {
    stream->recorded = true;
    capture.streams.insert(stream);
  }
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->recorded = stream->recorded ? stream : nullptr;
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return event->recorded != nullptr ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return cudaEventQuery(event); }
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  capture = {stream, {stream}, {}};
  stream->recorded = true;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  bool loose = false;
  for (CUstream_st* stream : capture.streams) {
    loose = loose || stream->loose;
    *stream = {};
  }
  *graph = loose ? nullptr : new CUgraph_st{std::move(capture.work)};
  capture = {};
  return loose ? cudaErrorStreamCaptureUnjoined : cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* step, cudaGraph_t graph, unsigned long long) {
  *step = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t step, cudaStream_t) {
  for (const auto& work : step->work) work();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t step) {
  delete step;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
