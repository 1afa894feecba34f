// Makes kernels from callables that read their operands by name.
#pragma once

#include <memory>
#include <utility>

#include "kernels/device.h"

namespace syncnorm {

using KernelPtr = std::unique_ptr<Kernel>;

/// Makes a kernel of operation `O` that calls body(operands, state). `S` is the type of its stored
/// values, or void where the body determines it at run time.
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
