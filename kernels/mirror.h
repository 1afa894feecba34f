// State that kernels use every step and host code now and then: for initialization, checkpoints and
// averages. A device with its own memory has a second copy on the host; on the CPU both are the
// same memory, and pull() and push() do nothing.
#pragma once

#include "kernels/device.h"

namespace syncnorm {

class Mirror {
 public:
  Mirror() = default;
  /// Allocates both copies, zeroed.
  Mirror(Device& device, std::size_t bytes) : device_(&device), there_(device.allocate(bytes)) {
    if (!device.host_memory()) here_ = device.allocate_pinned(bytes);
  }

  std::size_t bytes() const { return there_.bytes(); }
  /// The device's copy, for kernels; `T` is the type of its values.
  template <class T>
  T* device() const {
    return reinterpret_cast<T*>(there_.data());
  }
  /// The host's copy: as of the last pull(), or to be pushed.
  template <class T>
  std::span<T> host() const {
    return separate() ? here_.as<T>() : there_.as<T>();
  }
  /// Copies device to host, waiting for queued kernels first.
  void pull() {
    if (!separate()) return;
    device_->copy(here_.data(), there_.data(), bytes());
    device_->synchronize();
  }
  /// Copies host to device.
  void push() {
    if (!separate()) return;
    device_->copy(there_.data(), here_.data(), bytes());
    device_->synchronize();  // the host's copy may change right after
  }

 private:
  bool separate() const { return here_.data() != nullptr; }

  Device* device_ = nullptr;
  Buffer there_;
  Buffer here_;  // empty where the device's memory is host memory
};

}  // namespace syncnorm
