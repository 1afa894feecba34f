// State that kernels use every step and host code now and then: initialization, checkpoints,
// averages. On a device with memory of its own there is a copy on the host; on the CPU both are the
// same memory, and pull() and push() do nothing.
#pragma once

#include "kernels/device.h"

namespace syncnorm {

class Mirror {
 public:
  Mirror() = default;
  /// Zeroed, on both sides.
  Mirror(Device& device, std::size_t bytes) : device_(&device), there_(device.allocate(bytes)) {
    if (!device.host_memory()) here_ = device.allocate_pinned(bytes);
  }

  std::size_t bytes() const { return there_.bytes(); }
  /// The device's memory, for kernels; T: of its values.
  template <class T>
  T* device() const {
    return reinterpret_cast<T*>(there_.data());
  }
  /// The host's copy: what the last pull() brought, or what will be pushed.
  template <class T>
  std::span<T> host() const {
    return separate() ? here_.as<T>() : there_.as<T>();
  }
  /// Brings what kernels have written to the host's copy; waits for them.
  void pull() {
    if (!separate()) return;
    device_->copy(here_.data(), there_.data(), bytes());
    device_->synchronize();
  }
  /// Takes the host's copy to the device.
  void push() {
    if (!separate()) return;
    device_->copy(there_.data(), here_.data(), bytes());
    device_->synchronize();  // the host's copy may change right after
  }

 private:
  bool separate() const { return here_.data() != nullptr; }

  Device* device_ = nullptr;
  Buffer there_;
  Buffer here_;  // empty where it is the device's
};

}  // namespace syncnorm
