// The CUDA device on the CPU (tests/kernels/cuda/emulation), with convolutions and linear layers of
// the CPU's back end where a GPU has cuDNN and cuBLASLt: whole trainings on our own CUDA kernels,
// streams and recorded steps.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/cuda/device.h"
#include "kernels/device.h"
#include "kernels/weight_layout.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {

class EmulatedGpu final : public Device {
 public:
  void use_storage(Storage storage, bool emulate) override {
    cuda_->use_storage(storage, emulate);
    cpu_->use_storage(storage, true);
  }
  std::unique_ptr<Kernel> compile(const Op& op) override {
    return std::visit([&](const auto& o) { return compile_one(o); }, op);
  }
  bool batches_replicas() const override { return together; }
  bool merges(const Op& op, int replicas) override {
    // The CPU's convolutions give an image the same bits in any batch.
    return cuda_->merges(op, replicas) || std::holds_alternative<ConvForward>(op) ||
           std::holds_alternative<ConvDgrad>(op);
  }
  bool channels_last_weights() const override { return cuda_->channels_last_weights(); }
  std::size_t packed_bytes(const ConvPack& op) override { return cuda_->packed_bytes(op); }
  std::size_t workspace_bytes(const PoolForward& op) override { return cuda_->workspace_bytes(op); }
  std::string description() const override { return cuda_->description(); }
  std::string unit() const override { return cuda_->unit(); }
  std::size_t free_bytes() const override { return cuda_->free_bytes(); }
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
  void cancel_recording() noexcept override { cuda_->cancel_recording(); }
  void replay(Recording& recording) override {
    ++replays;
    cuda_->replay(recording);
  }
  void set_state(const StepState& state) override { cuda_->set_state(state); }

  int replays = 0;
  bool together = true;  // false: one replica after another

 private:
  using Pointers = std::vector<void*>;

  /// Queues `work(pointers of the operands)` on the compute queue.
  class LibraryKernel final : public Kernel {
   public:
    LibraryKernel(Device& device, std::function<void(const Pointers&)> work)
        : device_(device), work_(std::move(work)) {}
    void run(std::span<void* const> args, const StepState&) override {
      const auto stream = static_cast<cudaStream_t>(device_.native_queue(Queue::compute));
      emulation::queue(stream, [this, list = Pointers(args.begin(), args.end())] { work_(list); });
    }

   private:
    Device& device_;
    std::function<void(const Pointers&)> work_;
  };

  template <class O>
  std::unique_ptr<Kernel> compile_one(const O& op) {
    constexpr bool kLinear = std::is_same_v<O, LinearForward> || std::is_same_v<O, LinearDgrad> ||
                             std::is_same_v<O, LinearWgrad>;
    constexpr bool kConv = std::is_same_v<O, ConvForward> || std::is_same_v<O, ConvDgrad>;
    if constexpr (!kLinear && !kConv && !std::is_same_v<O, ConvWgrad>) {
      return cuda_->compile(op);
    } else {
      const std::shared_ptr<Kernel> kernel = cpu_->compile(op);
      if constexpr (kLinear) {
        return std::make_unique<LibraryKernel>(
            *cuda_, [kernel](const Pointers& args) { kernel->run(args, {}); });
      } else if constexpr (kConv) {
        return with_packed_weights(op, kernel, std::is_same_v<O, ConvDgrad>);
      } else {
        return std::make_unique<LibraryKernel>(
            *cuda_, [kernel, block = block_of(op.shape)](const Pointers& args) {
              kernel->run(args, {});
              auto* dweight = static_cast<float*>(args[2]);
              to_channels_last({&block, 1}, {dweight, count_of(block)});
            });
      }
    }
  }

  /// A convolution of the CPU that packs its second operand, the channels-last weights, each time.
  template <class O>
  std::unique_ptr<Kernel> with_packed_weights(const O& op, std::shared_ptr<Kernel> kernel,
                                              bool for_dgrad) {
    const ConvPack pack{op.samples, op.shape, for_dgrad, op.storage};
    const auto packed = std::make_shared<Buffer>(cpu_->allocate(cpu_->packed_bytes(pack)));
    const std::shared_ptr<Kernel> packing = cpu_->compile(pack);
    return std::make_unique<LibraryKernel>(
        *cuda_, [=, block = block_of(op.shape), storage = op.storage](Pointers args) {
          std::vector<float> weights(count_of(block));
          for (std::size_t i = 0; i < weights.size(); ++i)
            weights[i] = storage == Storage::f32 ? static_cast<const float*>(args[1])[i]
                                                 : to_float(static_cast<BFloat16*>(args[1])[i]);
          to_channels_first({&block, 1}, weights);
          packing->run(Pointers{weights.data(), packed->data()}, {});
          args[1] = packed->data();
          kernel->run(args, {});
        });
  }

  static WeightBlock block_of(const ConvShape& s) {
    return {0, s.filters, s.filter_channels(), s.kernel * s.kernel};
  }
  static std::size_t count_of(const WeightBlock& block) {
    return static_cast<std::size_t>(block.filters) * static_cast<std::size_t>(block.channels) *
           static_cast<std::size_t>(block.window);
  }

  std::unique_ptr<Device> cpu_ = make_cpu_device();
  std::unique_ptr<Device> cuda_ = syncnorm::cuda::make_device(0);
};

}  // namespace syncnorm::test
