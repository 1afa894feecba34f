// The CUDA device on the CPU (tests/kernels/cuda/emulation), with convolutions and linear layers of
// the CPU's back end where a GPU has cuDNN and cuBLASLt: whole trainings on our own CUDA kernels,
// streams and recorded steps.
#pragma once

#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/device.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {

class EmulatedGpu final : public Device {
 public:
  void use_storage(Storage storage, bool emulate) override {
    cuda_->use_storage(storage, emulate);
    cpu_->use_storage(storage, true);
  }
  std::unique_ptr<Kernel> compile(const Op& op) override {
    if (!of_library(op)) return cuda_->compile(op);
    return std::make_unique<LibraryKernel>(*cuda_, cpu_->compile(op));
  }
  std::size_t packed_bytes(const ConvPack& op) override { return cpu_->packed_bytes(op); }
  std::size_t workspace_bytes(const PoolForward& op) override { return cuda_->workspace_bytes(op); }
  std::string description() const override { return cuda_->description(); }
  std::string unit() const override { return cuda_->unit(); }
  bool host_memory() const override { return false; }
  Buffer allocate(std::size_t bytes) override { return cuda_->allocate(bytes); }
  Buffer allocate_pinned(std::size_t bytes) override { return cuda_->allocate_pinned(bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override {
    cuda_->copy(to, from, bytes);
  }
  void zero(void* to, std::size_t bytes) override { cuda_->zero(to, bytes); }
  void write(void* to, const void* from, std::size_t bytes) override {
    cuda_->write(to, from, bytes);
  }
  void synchronize() override { cuda_->synchronize(); }
  std::unique_ptr<Event> make_event() override { return cuda_->make_event(); }
  void record(Event& event) override { cuda_->record(event); }
  void run_after(Event& event) override { cuda_->run_after(event); }
  bool done(Event& event) override { return cuda_->done(event); }
  void wait(Event& event) override { cuda_->wait(event); }
  Queue use_queue(Queue queue) override { return cuda_->use_queue(queue); }
  void* native_queue(Queue queue) override { return cuda_->native_queue(queue); }
  bool records() const override { return cuda_->records(); }
  void begin_recording() override { cuda_->begin_recording(); }
  std::unique_ptr<Recording> end_recording() override { return cuda_->end_recording(); }
  void replay(Recording& recording) override {
    ++replays;
    cuda_->replay(recording);
  }
  void set_state(const StepState& state) override { cuda_->set_state(state); }

  int replays = 0;

 private:
  static bool of_library(const Op& op) {
    return std::visit(
        []<class O>(const O&) {
          return std::is_same_v<O, ConvPack> || std::is_same_v<O, ConvForward> ||
                 std::is_same_v<O, ConvDgrad> || std::is_same_v<O, ConvWgrad> ||
                 std::is_same_v<O, LinearForward> || std::is_same_v<O, LinearDgrad> ||
                 std::is_same_v<O, LinearWgrad>;
        },
        op);
  }

  class LibraryKernel final : public Kernel {
   public:
    LibraryKernel(Device& device, std::unique_ptr<Kernel> kernel)
        : device_(device), kernel_(std::move(kernel)) {}
    void run(std::span<void* const> args, const StepState&) override {
      const auto stream = static_cast<cudaStream_t>(device_.native_queue(Queue::compute));
      emulation::queue(
          stream, [this, list = std::vector(args.begin(), args.end())] { kernel_->run(list, {}); });
    }

   private:
    Device& device_;
    std::unique_ptr<Kernel> kernel_;
  };

  std::unique_ptr<Device> cpu_ = make_cpu_device();
  std::unique_ptr<Device> cuda_ = syncnorm::cuda::make_device(0);
};

}  // namespace syncnorm::test
