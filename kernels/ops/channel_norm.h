// Layer norm of every pixel over its channels, as ConvNeXt has it (Liu et al. 2022). A row of C
// values has its own mean and deviation; both passes compute them from x, so none are kept.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// y = [relu](γ·x̂ + β [+ residual]), x̂ = (x − mean)/√(variance + eps) of the pixel; gamma, beta
/// [C].
struct ChannelNormForward {
  int samples = 1;
  int pixels = 1, channels = 0;
  double eps = 1e-5;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "channel norm";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ChannelNormForward::pixels);
    field("x{}", &ChannelNormForward::channels);
    field(" eps {}", &ChannelNormForward::eps);
    field(" relu", &ChannelNormForward::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, Stored> residual;
    Out<As, Stored> y;
  };
};

/// The masked gradient g is defined as in BatchGradientSums.
struct ChannelNormBackward {
  int samples = 1;
  int pixels = 1, channels = 0;
  double eps = 1e-5;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "channel norm backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ChannelNormBackward::pixels);
    field("x{}", &ChannelNormBackward::channels);
    field(" eps {}", &ChannelNormBackward::eps);
    field(" relu", &ChannelNormBackward::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> dy2;
    In<As, Stored> x;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, Stored> y;
    Out<As, Stored> dx;
    OptionalOut<As, float> dgamma, dbeta;
    OptionalOut<As, Stored> g;
  };
};

}  // namespace syncnorm
