// Norms without statistics, which map every value by itself: DyT (Zhu et al. 2025) with the
// function tanh, Derf (Chen et al. 2025) with erf. α and s are one number per layer, γ and β one
// per channel.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

enum class PointwiseFunction { tanh, erf };

/// y = [relu](γ·f(α·x + s) + β [+ residual]); alpha, shift [1]; gamma, beta [C].
struct PointwiseNormForward {
  int samples = 1;
  int pixels = 1, channels = 0;
  PointwiseFunction function = PointwiseFunction::tanh;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "pointwise norm";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &PointwiseNormForward::pixels);
    field("x{}", &PointwiseNormForward::channels);
    field(" {}", &PointwiseNormForward::function);
    field(" relu", &PointwiseNormForward::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, float> alpha;
    OptionalIn<As, float> shift, gamma, beta;
    OptionalIn<As, Stored> residual;
    Out<As, Stored> y;
  };
};

/// With the masked gradient g as in BatchGradientSums and z = α·x + s: dγ = Σ g·f(z) and dβ = Σ g
/// per channel; dα = Σ γ·g·f'(z)·x and ds = Σ γ·g·f'(z) over all channels; dx = α·γ·g·f'(z).
struct PointwiseNormBackward {
  int samples = 1;
  int pixels = 1, channels = 0;
  PointwiseFunction function = PointwiseFunction::tanh;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "pointwise norm backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &PointwiseNormBackward::pixels);
    field("x{}", &PointwiseNormBackward::channels);
    field(" {}", &PointwiseNormBackward::function);
    field(" relu", &PointwiseNormBackward::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> dy2;
    In<As, Stored> x;
    In<As, float> alpha;
    OptionalIn<As, float> shift, gamma, beta;
    OptionalIn<As, Stored> y;
    Out<As, Stored> dx;
    Out<As, float> dalpha;
    OptionalOut<As, float> dshift, dgamma, dbeta;
    OptionalOut<As, Stored> g;
  };
};

}  // namespace syncnorm
