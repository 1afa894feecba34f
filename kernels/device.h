// A Device compiles operations to kernels and owns memory. One rank drives one device from one
// thread.
//
// A Kernel is compiled once and run every step: a call allocates nothing, and a kernel keeps no
// state except its constants. The kernels of a device run one at a time, because they may share
// scratch memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace syncnorm {

/// Values that change from step to step. The trainer writes them, kernels read them.
struct StepState {
  std::uint64_t seed = 1;
  std::uint64_t step = 0;      // updates completed before this one
  bool update_running = true;  // update the running statistics in this pass
  float lr = 0.0f;             // learning rate of this update
  double vote = 0.0;           // this rank's vote in the loss reduction
  double sample_weight = 0.0;  // BatchMix: weight of the sample's own statistics
  bool operator==(const StepState&) const = default;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  /// Runs on `args`, the operands in the order that kernels/ops/ lists them. All pointers are
  /// device memory.
  virtual void run(std::span<void* const> args, const StepState& state) = 0;
  /// Prepares for run_repeated() of up to `count`, for which it may allocate.
  virtual void expect_repeats(int count) { static_cast<void>(count); }
  /// Runs `count` times, each time with operand a `strides[a]` bytes further: for one replica after
  /// another, none of which reads what another one writes. Gives the bits of that many runs.
  virtual void run_repeated(std::span<void* const> args, std::span<const std::size_t> strides,
                            int count, const StepState& state);
};

inline void Kernel::run_repeated(std::span<void* const> args, std::span<const std::size_t> strides,
                                 int count, const StepState& state) {
  std::array<void*, kMostOperands> own{};
  for (int i = 0; i < count; ++i) {
    for (std::size_t a = 0; a < args.size(); ++a)
      own[a] = args[a] == nullptr
                   ? nullptr
                   : static_cast<std::byte*>(args[a]) + static_cast<std::size_t>(i) * strides[a];
    run({own.data(), args.size()}, state);
  }
}

/// Device memory, 64-byte aligned and zeroed. Movable, freed on destruction.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::byte* data, std::size_t bytes, void (*release)(std::byte*))
      : data_(data), bytes_(bytes), release_(release) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_(data_);
  }

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  template <class T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(data_), bytes_ / sizeof(T)};
  }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
  }
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  void (*release_)(std::byte*) = nullptr;
};

/// A point in a device's queue, made by Device::make_event().
class Event {
 public:
  virtual ~Event() = default;
};

/// The work queued between Device::begin_recording() and end_recording(), which can be queued again
/// as a whole: the same kernels on the same memory. It may be released while its work still runs.
/// Those that hold collectives must be released before their communicators end.
class Recording {
 public:
  virtual ~Recording() = default;
};

/// A device's queues. Work in one queue runs in order; between queues only events impose an order.
enum class Queue { compute, communication, input };
inline constexpr std::size_t kQueues = 3;

/// Kernels, copies and events are queued in the order of the calls and may still be running when
/// the call returns. On the CPU, and with the defaults below, they are complete by then. One queue
/// is current, at first `compute`.
class Device {
 public:
  virtual ~Device() = default;
  /// Prepares for operations on values of this storage; call it before any of them is compiled.
  /// Throws InputError where the device has no instructions for the storage, unless `emulate`: then
  /// convolutions and pooling compute in f32 on widened copies, which is slow but equally accurate.
  virtual void use_storage(Storage storage, bool emulate) = 0;
  virtual std::unique_ptr<Kernel> compile(const Op& op) = 0;
  virtual Buffer allocate(std::size_t bytes) = 0;
  /// Returns true when a call for many replicas takes less time than many calls: then a rank's
  /// replicas are computed together where there is memory for it.
  virtual bool batches_replicas() const { return false; }
  /// Returns true when `op`, for one replica, gives the same bits on the samples of `replicas`
  /// replicas in one call. May try it.
  virtual bool merges(const Op& op, int replicas) {
    static_cast<void>(op), static_cast<void>(replicas);
    return false;
  }
  /// Returns true when convolutions read their weights [filters, k, k, channels], in the storage of
  /// activations, as they lie in the parameters or a narrowed copy of them, and write gradients in
  /// that layout, f32. Pointers to both must be 64-byte aligned. False: the weights and gradients
  /// of parameters are [filters, channels, k, k], and convolutions read packed copies of weights.
  virtual bool channels_last_weights() const { return false; }
  /// Size of the packed weights that `op` writes.
  virtual std::size_t packed_bytes(const ConvPack& op) = 0;
  /// Bytes that the forward pass keeps for the backward pass, per call; 0 for none.
  virtual std::size_t workspace_bytes(const PoolForward& op) = 0;
  /// Describes everything that results depend on bit for bit: kind, instruction set, library
  /// versions.
  virtual std::string description() const = 0;

  /// Lists the algorithms chosen for the operations compiled so far, one entry per operation that
  /// had a choice. Results depend on them bit for bit.
  virtual std::vector<std::string> choices() const { return {}; }
  /// Returns the free bytes of the device's memory, over all processes; 0 on the CPU, which does
  /// not know.
  virtual std::size_t free_bytes() const { return 0; }
  /// Identifies the physical device: equal for processes that share one, "" on the CPU.
  virtual std::string unit() const { return ""; }
  /// Returns true when host code may access the memory that allocate() returns.
  virtual bool host_memory() const { return true; }
  /// Allocates zeroed memory that host code can access and whose copies run asynchronously
  /// (pinned). Kernels can use it too, slowly.
  virtual Buffer allocate_pinned(std::size_t bytes) { return allocate(bytes); }
  /// Writes up to kMostWritten bytes. `from` may be reused as soon as the call returns.
  virtual void write(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  static constexpr std::size_t kMostWritten = 64;
  /// Copies between any two of device and host memory. Host memory must stay valid and unchanged
  /// until the copy is done.
  virtual void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  virtual void zero(void* to, std::size_t bytes) {
    if (bytes > 0) std::memset(to, 0, bytes);
  }
  /// Waits for everything queued; throws when any of it failed.
  virtual void synchronize() {}

  virtual std::unique_ptr<Event> make_event() { return std::make_unique<Event>(); }
  /// Records the event: it is done as soon as everything queued before is done.
  virtual void record(Event&) {}
  /// Makes work queued from now on run after `event`, which must have been recorded.
  virtual void run_after(Event&) {}
  virtual bool done(Event&) { return true; }
  virtual void wait(Event&) {}
  /// Makes `queue` current and returns the previous one.
  virtual Queue use_queue(Queue) { return Queue::compute; }
  /// The runtime's handle of a queue (a cudaStream_t), for a communicator; null on the CPU.
  virtual void* native_queue(Queue) { return nullptr; }

  /// Returns true when the device can record steps.
  virtual bool records() const { return false; }
  /// Records what is queued from now on instead of running it. The compute queue must be current.
  /// Before end_recording(), nothing may wait for the device or allocate, and the compute queue
  /// must have waited (run_after) for every other queue used. Kernels are recorded with the state
  /// that set_state() set last.
  virtual void begin_recording() {}
  virtual std::unique_ptr<Recording> end_recording() { return nullptr; }
  /// Ends a recording that an exception has interrupted, and discards it.
  virtual void cancel_recording() noexcept {}
  /// Queues the recorded work; its kernels see the state that set_state() set last.
  virtual void replay(Recording&) {}
  /// Sets the state for kernels queued from now on, as the argument of run() does.
  virtual void set_state(const StepState&) {}
};

/// Makes the CPU device, which uses one core. `isa` names the instruction set of our own kernels:
/// "baseline", "avx2" or "avx512"; when empty, the environment variable SYNCNORM_ISA names it, else
/// the best one available is used. Throws InputError for an unknown set or one
/// that this processor lacks.
std::unique_ptr<Device> make_cpu_device(const std::string& isa = "");

/// Makes the GPU device of the rank with `local_rank` ranks before it on its machine: ranks get
/// GPUs round-robin. Throws InputError, saying what is missing, in a build without CUDA and where
/// there is no driver or GPU. The back end is a module that is loaded only here.
std::unique_ptr<Device> make_cuda_device(int local_rank);

/// Returns what the GPU back end finds here: the driver, the libraries and the GPUs, with their
/// versions, or that they are missing. Never throws.
std::string cuda_found();

}  // namespace syncnorm
