// The CUDA device: memory, streams, events and recordings. Forwards operations to the file of their
// kind.
#include "kernels/cuda/device.h"

#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/conv_merge.h"
#include "kernels/cuda/launch.h"

namespace syncnorm::cuda {

Buffer allocate_device(std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return {};
  void* data = nullptr;
  if (cudaMalloc(&data, bytes) != cudaSuccess) {
    cudaGetLastError();  // else the next call would report this error
    std::size_t available = 0, total = 0;
    check(cudaMemGetInfo(&available, &total), "could not ask for free memory");
    throw InputError(fmt::format(
        "the GPU has no {:.0f} MiB left: {:.0f} of {:.0f} MiB are free; use a smaller "
        "batch_per_replica, precision: bf16, fewer replicas per rank, or a smaller model",
        static_cast<double>(bytes) / 0x1p20, static_cast<double>(available) / 0x1p20,
        static_cast<double>(total) / 0x1p20));
  }
  Buffer buffer(static_cast<std::byte*>(data), bytes, [](std::byte* p) { cudaFree(p); });
  check(cudaMemsetAsync(data, 0, bytes, stream), "could not zero memory");
  check(cudaStreamSynchronize(stream), "could not zero memory");
  return buffer;
}

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

Context::Context() {
  for (cudaStream_t& made : streams_)
    check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "could not make a stream");
  stream = stream_of(Queue::compute);
  libraries = make_libraries(stream);
  state_ = allocate_device(sizeof(StepState), stream);
}

Context::~Context() {
  libraries.reset();
  for (cudaStream_t made : streams_) cudaStreamDestroy(made);
}

Queue Context::use_queue(Queue queue) {
  stream = stream_of(queue);
  return std::exchange(current_, queue);
}

const StepState* Context::use(const StepState& state) {
  if (last_state_ != state) {
    if (recording)
      throw std::logic_error("CUDA: a step is recorded with another state than was set");
    write_bytes(stream, state_.data(), &state, sizeof state);
    last_state_ = state;
  }
  return reinterpret_cast<const StepState*>(state_.data());
}

void Context::need_scratch(std::size_t bytes) {
  if (bytes <= scratch_.bytes()) return;
  check(cudaStreamSynchronize(stream), "an earlier kernel failed");  // it may still use the old one
  scratch_ = {};
  scratch_ = allocate_device(bytes, stream);
}

namespace {

class CudaEvent final : public Event {
 public:
  CudaEvent() {
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "could not make an event");
  }
  ~CudaEvent() override { cudaEventDestroy(event); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  cudaEvent_t event = nullptr;
};

cudaEvent_t event_of(Event& event) { return static_cast<CudaEvent&>(event).event; }

class CudaRecording final : public Recording {
 public:
  /// Takes ownership of `graph`.
  explicit CudaRecording(cudaGraph_t graph) {
    const cudaError_t made = cudaGraphInstantiate(&step, graph, 0);
    cudaGraphDestroy(graph);
    check(made, "could not prepare a recorded step");
  }
  ~CudaRecording() override { cudaGraphExecDestroy(step); }
  CudaRecording(const CudaRecording&) = delete;
  CudaRecording& operator=(const CudaRecording&) = delete;
  cudaGraphExec_t step = nullptr;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index) {
    check(cudaGetDeviceProperties(&properties_, index), "could not ask for the GPU's properties");
    check(cudaRuntimeGetVersion(&runtime_), "could not ask for the runtime's version");
    check(cudaDriverGetVersion(&driver_), "could not ask for the driver's version");
  }

  void use_storage(Storage, bool emulate) override {
    // Every GPU that make_device() accepts supports bf16.
    if (emulate)
      throw InputError("precision: bf16_emulated is for processors; use precision: bf16");
  }
  KernelPtr compile(const Op& op) override {
    return std::visit([this](const auto& o) { return cuda::compile(context_, o); }, op);
  }
  Buffer allocate(std::size_t bytes) override { return allocate_device(bytes, context_.stream); }
  bool batches_replicas() const override { return true; }
  bool merges(const Op& op, int replicas) override {
    return per_sample(op) || merges_convolution(context_, op, replicas);
  }
  bool channels_last_weights() const override { return true; }
  std::size_t packed_bytes(const ConvPack& op) override { return cuda::packed_bytes(op); }
  std::size_t workspace_bytes(const PoolForward& op) override { return cuda::workspace_bytes(op); }

  std::string description() const override {
    return fmt::format("cuda {} sm_{}{}, CUDA {}, driver {}, {}", properties_.name,
                       properties_.major, properties_.minor, version_text(runtime_),
                       version_text(driver_), context_.libraries->versions());
  }

  std::vector<std::string> choices() const override {
    return {context_.choices.begin(), context_.choices.end()};
  }
  std::string unit() const override {
    std::string text = "GPU-";
    for (const char byte : properties_.uuid.bytes)
      text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return text;
  }
  std::size_t free_bytes() const override {
    std::size_t available = 0, total = 0;
    check(cudaMemGetInfo(&available, &total), "could not ask for free memory");
    return available;
  }
  bool host_memory() const override { return false; }
  Buffer allocate_pinned(std::size_t bytes) override {
    if (bytes == 0) return {};
    void* data = nullptr;
    check(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), "could not pin host memory");
    std::memset(data, 0, bytes);
    return {static_cast<std::byte*>(data), bytes, [](std::byte* p) { cudaFreeHost(p); }};
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    if (bytes > 0)
      check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, context_.stream),
            "could not queue a copy");
  }
  void write(void* to, const void* from, std::size_t bytes) override {
    if (bytes > 0) write_bytes(context_.stream, to, from, bytes);
  }
  void zero(void* to, std::size_t bytes) override {
    if (bytes > 0) check(cudaMemsetAsync(to, 0, bytes, context_.stream), "could not queue zeroing");
  }
  void synchronize() override {
    for (const Queue queue : {Queue::input, Queue::communication, Queue::compute})
      check(cudaStreamSynchronize(context_.stream_of(queue)), "something that was queued failed");
  }

  std::unique_ptr<Event> make_event() override { return std::make_unique<CudaEvent>(); }
  void record(Event& event) override {
    check(cudaEventRecord(event_of(event), context_.stream), "could not record an event");
  }
  void run_after(Event& event) override {
    check(cudaStreamWaitEvent(context_.stream, event_of(event), 0), "could not order the queues");
  }
  bool done(Event& event) override {
    const cudaError_t state = cudaEventQuery(event_of(event));
    if (state == cudaErrorNotReady) return false;
    check(state, "something before an event failed");
    return true;
  }
  void wait(Event& event) override {
    check(cudaEventSynchronize(event_of(event)), "something before an event failed");
  }
  Queue use_queue(Queue queue) override { return context_.use_queue(queue); }
  void* native_queue(Queue queue) override { return context_.stream_of(queue); }

  bool records() const override { return true; }
  void begin_recording() override {
    // NCCL queues from its own thread, so the capture checks only this thread's calls.
    check(cudaStreamBeginCapture(context_.stream, cudaStreamCaptureModeThreadLocal),
          "could not begin to record a step");
    context_.recording = true;
  }
  std::unique_ptr<Recording> end_recording() override {
    context_.recording = false;
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(context_.stream, &graph), "could not record a step");
    return std::make_unique<CudaRecording>(graph);
  }
  void cancel_recording() noexcept override {
    context_.recording = false;
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(context_.stream_of(Queue::compute), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();  // else the next call would report that it was interrupted
  }
  void replay(Recording& recording) override {
    check(cudaGraphLaunch(static_cast<CudaRecording&>(recording).step, context_.stream),
          "could not queue a recorded step");
  }
  void set_state(const StepState& state) override { context_.use(state); }

 private:
  cudaDeviceProp properties_{};
  int runtime_ = 0, driver_ = 0;
  Context context_;
};

}  // namespace

std::unique_ptr<Device> make_device(int local_rank) {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess)
    throw InputError(fmt::format("device: cuda: no GPU can be used here ({}); use device: cpu",
                                 cudaGetErrorString(found)));
  if (count == 0)
    throw InputError("device: cuda: this machine has no GPU, or shows none; use device: cpu");
  const int index = local_rank % count;
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "could not ask for the GPU's properties");
  if (properties.major < 8)
    throw InputError(
        fmt::format("device: cuda: the GPU {} has compute capability {}.{}; 8.0 (A100) "
                    "or newer is needed",
                    properties.name, properties.major, properties.minor));
  check(cudaSetDevice(index), "could not choose the GPU");
  return std::make_unique<CudaDevice>(index);
}

}  // namespace syncnorm::cuda
