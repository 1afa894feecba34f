// State that kernels use every step and host code now and then: for initialization, checkpoints and
// averages. A device with its own memory has a second copy on the host; on the CPU both are the
// same memory, and pull() and push() do nothing.
//
// Where the device has the weights of convolutions channels last, pull() and push() convert them:
// the host's copy is always in PyTorch's layout.
#pragma once

#include <utility>
#include <vector>

#include "kernels/device.h"
#include "kernels/weight_layout.h"

namespace syncnorm {

class Mirror {
 public:
  Mirror() = default;
  /// Allocates both copies, zeroed. `blocks`: weights of convolutions that the device has channels
  /// last; only for memory of floats.
  Mirror(Device& device, std::size_t bytes, std::vector<WeightBlock> blocks = {})
      : device_(&device), blocks_(std::move(blocks)), there_(device.allocate(bytes)) {
    if (!device.host_memory()) here_ = device.allocate_pinned(bytes);
    if (!blocks_.empty()) converted_ = device.allocate_pinned(bytes);
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
    to_channels_first(blocks_, here_.as<float>());
  }
  /// Copies host to device.
  void push() {
    if (!separate()) return;
    const Buffer& from = blocks_.empty() ? here_ : converted_;
    if (!blocks_.empty()) {
      std::memcpy(converted_.data(), here_.data(), bytes());
      to_channels_last(blocks_, converted_.as<float>());
    }
    device_->copy(there_.data(), from.data(), bytes());
    device_->synchronize();  // the host's copy may change right after
  }

 private:
  bool separate() const { return here_.data() != nullptr; }

  Device* device_ = nullptr;
  std::vector<WeightBlock> blocks_;
  Buffer there_;
  Buffer here_;       // empty where the device's memory is host memory
  Buffer converted_;  // what push() sends; empty without blocks
};

}  // namespace syncnorm
