// A device compiles operations to kernels and owns memory. One rank drives one device with one
// thread.
//
// A Kernel is compiled once and run every step: a call allocates nothing and keeps no state but its
// own constants. Kernels of one device are run one at a time (they may share scratch memory).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace syncnorm {

/// What differs from step to step; kernels read it, the trainer writes it.
struct StepState {
  std::uint64_t seed = 1;
  std::uint64_t step = 0;      // updates completed before this one
  bool update_running = true;  // running statistics follow this pass
  float lr = 0.0f;             // rate of this update
  double vote = 0.0;           // this rank's vote in the loss reduction
  bool operator==(const StepState&) const = default;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  /// `args` as listed in ops.h, in order; all pointers are the device's memory.
  virtual void run(std::span<void* const> args, const StepState& state) = 0;
};

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

/// A point in what was queued on a device; made by Device::make_event().
class Event {
 public:
  virtual ~Event() = default;
};

/// What was queued between Device::begin_recording() and end_recording(), to be queued again as
/// one: the same kernels on the same memory.
class Recording {
 public:
  virtual ~Recording() = default;
};

/// A device's queues. What one of them holds runs in order; between them only events order.
enum class Queue { compute, communication, input };
inline constexpr std::size_t kQueues = 3;

/// Kernels, copies and events are queued, in the order of the calls, and may still be running when
/// the call returns; on the CPU, and by the defaults below, they never are. Of a device's queues
/// one is current, `compute` at first.
class Device {
 public:
  virtual ~Device() = default;
  /// Prepares for operations on values stored so; before any of them is compiled. Throws InputError
  /// where there are no instructions for it, unless `emulate`: convolutions and pooling then
  /// compute in f32 on widened copies, which is slow and as accurate.
  virtual void use_storage(Storage storage, bool emulate) = 0;
  virtual std::unique_ptr<Kernel> compile(const Op& op) = 0;
  virtual Buffer allocate(std::size_t bytes) = 0;
  /// Size of the packed weights that `op` writes.
  virtual std::size_t packed_bytes(const ConvPack& op) = 0;
  /// Size of what the forward pass keeps for the backward one, per call; 0: nothing.
  virtual std::size_t workspace_bytes(const PoolForward& op) = 0;
  /// Everything that the bits depend on: kind, instruction set, library versions.
  virtual std::string description() const = 0;

  /// What was chosen for operations compiled so far, one each, where there was a choice: the bits
  /// depend on it.
  virtual std::vector<std::string> choices() const { return {}; }
  /// The physical device, equal for processes that share one; "" on the CPU.
  virtual std::string unit() const { return ""; }
  /// Whether host code may touch what allocate() gives.
  virtual bool host_memory() const { return true; }
  /// Memory that host code may touch, too, and whose copies run beside it (pinned). Kernels can
  /// use it, slowly. Zeroed.
  virtual Buffer allocate_pinned(std::size_t bytes) { return allocate(bytes); }
  /// Writes at most kMostWritten bytes, which are taken when this is called.
  virtual void write(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  static constexpr std::size_t kMostWritten = 64;
  /// Copies between any two of the device's and the host's memories. What host memory holds is read
  /// or written until the copy is done.
  virtual void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  virtual void zero(void* to, std::size_t bytes) {
    if (bytes > 0) std::memset(to, 0, bytes);
  }
  /// Waits for everything that was queued; throws when something of it failed.
  virtual void synchronize() {}

  virtual std::unique_ptr<Event> make_event() { return std::make_unique<Event>(); }
  /// The event is then done as soon as all that was queued before is.
  virtual void record(Event&) {}
  /// What is queued from now on runs after `event`, which was recorded before.
  virtual void run_after(Event&) {}
  virtual bool done(Event&) { return true; }
  virtual void wait(Event&) {}
  /// Makes `queue` the current one and returns which was.
  virtual Queue use_queue(Queue) { return Queue::compute; }
  /// A queue as its runtime knows it (a cudaStream_t), for a communicator; null on the CPU.
  virtual void* native_queue(Queue) { return nullptr; }

  /// Whether steps can be recorded.
  virtual bool records() const { return false; }
  /// From here on, what is queued is kept and not run. Starts on the compute queue; nothing may
  /// wait for the device, or allocate, before end_recording(), and queues that were used must have
  /// been waited for (run_after) by the compute queue. Kernels are recorded with the last
  /// set_state().
  virtual void begin_recording() {}
  virtual std::unique_ptr<Recording> end_recording() { return nullptr; }
  /// Queues what was recorded; its kernels see the state that was set last.
  virtual void replay(Recording&) {}
  /// Sets what kernels see that are queued from now on, as run() does with its own argument.
  virtual void set_state(const StepState&) {}
};

/// The CPU, one core. `isa` names the instruction set of our own kernels: "baseline", "avx2",
/// "avx512"; empty: the one in the environment variable SYNCNORM_ISA, else the best here. Throws
/// InputError for a set that this processor lacks.
std::unique_ptr<Device> make_cpu_device(const std::string& isa = "");

/// The GPU for the rank with `local_rank` ranks before it on its machine: they are dealt in turn,
/// as often as needed. Throws InputError in a build without CUDA, and where there is no driver or
/// no GPU, saying what is missing. The back end is a module that is loaded only here.
std::unique_ptr<Device> make_cuda_device(int local_rank);

}  // namespace syncnorm
