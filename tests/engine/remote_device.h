// A device whose memory host code cannot touch, as a GPU's: it computes on the CPU, but what it
// allocates is unmapped except while a kernel, a copy or a fill runs. A pointer that the engine
// follows by itself ends the test with a fault; a copy that it forgets leaves wrong values.
#pragma once

#include <sys/mman.h>

#include <list>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "kernels/device.h"

namespace syncnorm::test {

class RemoteDevice final : public Device {
 public:
  explicit RemoteDevice(std::unique_ptr<Device> cpu) : cpu_(std::move(cpu)) {}

  void use_storage(Storage storage, bool emulate) override { cpu_->use_storage(storage, emulate); }
  std::unique_ptr<Kernel> compile(const Op& op) override {
    return std::make_unique<RemoteKernel>(*this, cpu_->compile(op));
  }
  std::size_t packed_bytes(const ConvPack& op) override { return cpu_->packed_bytes(op); }
  std::size_t workspace_bytes(const PoolForward& op) override { return cpu_->workspace_bytes(op); }
  std::string description() const override { return cpu_->description(); }

  bool host_memory() const override { return false; }
  Buffer allocate_pinned(std::size_t bytes) override { return cpu_->allocate(bytes); }
  Buffer allocate(std::size_t bytes) override {
    if (bytes == 0) return {};
    constexpr std::size_t kPage = 4096;
    const std::size_t size = (bytes + kPage - 1) / kPage * kPage;
    void* data = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    regions_.push_back({data, size});
    // Never unmapped: a test is short, and an address must not be given out twice.
    return {static_cast<std::byte*>(data), bytes, [](std::byte*) {}};
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    const Open open(*this);
    cpu_->copy(to, from, bytes);
  }
  void zero(void* to, std::size_t bytes) override {
    const Open open(*this);
    cpu_->zero(to, bytes);
  }

 private:
  struct Region {
    void* data;
    std::size_t bytes;
  };
  /// The memory can be used while this lives.
  class Open {
   public:
    explicit Open(RemoteDevice& device) : device_(device) { protect(PROT_READ | PROT_WRITE); }
    ~Open() { protect(PROT_NONE); }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    void protect(int how) {
      for (const Region& region : device_.regions_) mprotect(region.data, region.bytes, how);
    }
    RemoteDevice& device_;
  };
  class RemoteKernel final : public Kernel {
   public:
    RemoteKernel(RemoteDevice& device, std::unique_ptr<Kernel> kernel)
        : device_(device), kernel_(std::move(kernel)) {}
    void run(std::span<void* const> args, const StepState& state) override {
      const Open open(device_);
      kernel_->run(args, state);
    }

   private:
    RemoteDevice& device_;
    std::unique_ptr<Kernel> kernel_;
  };

  std::unique_ptr<Device> cpu_;
  std::list<Region> regions_;
};

}  // namespace syncnorm::test
