// Kernels from callables that read their operands by name.
#pragma once

#include <memory>
#include <utility>

#include "kernels/device.h"

namespace syncnorm {

using KernelPtr = std::unique_ptr<Kernel>;

/// A kernel of operation `O` that calls body(operands, state); `S` is the type of its stored
/// values, void where the body finds that out.
template <class O, class S = void, class Body>
KernelPtr make_kernel(Body body) {
  struct BodyKernel final : Kernel {
    explicit BodyKernel(Body b) : body_(std::move(b)) {}
    void run(std::span<void* const> operands, const StepState& state) override {
      body_(named_pointers<O, S>(operands), state);
    }
    Body body_;
  };
  return std::make_unique<BodyKernel>(std::move(body));
}

}  // namespace syncnorm
