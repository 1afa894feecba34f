// Norms within a sample that contain their activation: FRN with TLU (Singh & Krishnan 2020) with
// the activation `threshold`, EvoNorm-S0 (Liu et al. 2020) with `swish`. k = 1/√(s² + eps) is
// shared by a group of channels of one sample. FRN has groups = channels and is not centered: s² =
// mean(x²). EvoNorm-S0 is centered: s² is the variance, but no mean is subtracted from x.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

enum class NormActivation { threshold, swish };

/// The shape and the statistics of both passes.
struct ActivatedNormShape {
  int pixels = 1, channels = 0, groups = 1;
  double eps = 1e-5;
  NormActivation activation = NormActivation::threshold;
  bool relu = false;

  bool centered() const { return activation == NormActivation::swish; }

  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ActivatedNormShape::pixels);
    field("x{}", &ActivatedNormShape::channels);
    field(" groups {}", &ActivatedNormShape::groups);
    field(" eps {}", &ActivatedNormShape::eps);
    field(" {}", &ActivatedNormShape::activation);
    field(" relu", &ActivatedNormShape::relu);
  }
};

/// threshold: y = max(γ·k·x + β, τ); swish: y = γ·k·x·σ(v·x) + β; then [+ residual] [relu].
/// gamma, beta and slope, which is τ or v, are [C]; without τ there is no threshold. `epsilon` [1]
/// is learned: where it is given, |epsilon| replaces eps. mean [samples, 2, C], inv_std (k)
/// [samples, C].
struct ActivatedNormForward {
  int samples = 1;
  ActivatedNormShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "activated norm";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &ActivatedNormForward::shape);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    OptionalIn<As, float> gamma, beta, slope, epsilon;
    OptionalIn<As, Stored> residual;
    Out<As, Stored> y;
    Out<As, float> mean, inv_std;
  };
};

/// The gradient g is masked by the ReLU as in BatchGradientSums. At y = τ the gradient is τ's.
struct ActivatedNormBackward {
  int samples = 1;
  ActivatedNormShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "activated norm backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &ActivatedNormBackward::shape);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> dy2;
    In<As, Stored> x;
    In<As, float> mean, inv_std;
    OptionalIn<As, float> gamma, beta, slope, epsilon;
    OptionalIn<As, Stored> y;
    Out<As, Stored> dx;
    OptionalOut<As, float> dgamma, dbeta, dslope, depsilon;
    OptionalOut<As, Stored> g;
  };
};

}  // namespace syncnorm
