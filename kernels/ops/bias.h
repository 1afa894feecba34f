// A bias that is an operation of its own: that of a transposed convolution, whose forward pass is
// the input gradient of a convolution.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// y [samples, pixels, channels] += bias [channels].
struct AddBias {
  int samples = 1;
  int pixels = 1, channels = 0;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "add bias";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &AddBias::pixels);
    field("x{}", &AddBias::channels);
  }
  template <class As>
  struct Operands {
    In<As, float> bias;
    InOut<As, Stored> y;
  };
};

/// dbias [channels] = Σ dy over samples and pixels; dy [samples, pixels, channels].
struct BiasGradient {
  int samples = 1;
  int pixels = 1, channels = 0;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "bias gradient";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BiasGradient::pixels);
    field("x{}", &BiasGradient::channels);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    Out<As, float> dbias;
  };
};

}  // namespace syncnorm
