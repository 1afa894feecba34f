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

/// The runs of one call: how many, and the bytes from an operand of one to that of the next.
template <class O>
struct Repeats {
  int count = 1;
  StridesOf<O> strides{};
};

/// Makes a kernel that can run for many replicas at once. `Body`: run(operands, state, repeats);
/// expect(count), see Kernel; together(operands, repeats), false if run() cannot do them in one
/// call, which then come one after another.
template <class O, class Body>
KernelPtr make_repeating_kernel(Body body) {
  struct BodyKernel final : Kernel {
    explicit BodyKernel(Body b) : body_(std::move(b)) {}
    void run(std::span<void* const> operands, const StepState& state) override {
      body_.run(named_pointers<O>(operands), state, Repeats<O>{});
    }
    void expect_repeats(int count) override { body_.expect(count); }
    void run_repeated(std::span<void* const> operands, std::span<const std::size_t> strides,
                      int count, const StepState& state) override {
      const Repeats<O> repeats{count, named_strides<O>(strides)};
      if (body_.together(operands, strides))
        body_.run(named_pointers<O>(operands), state, repeats);
      else
        Kernel::run_repeated(operands, strides, count, state);
    }
    Body body_;
  };
  return std::make_unique<BodyKernel>(std::move(body));
}

}  // namespace syncnorm
