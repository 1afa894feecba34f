// Normalization within a sample: group, layer, instance and RMS norm. Layer norm has groups = 1,
// instance norm has groups = channels. RMS norm (Zhang & Sennrich 2019) has groups = 1 and is not
// `centered`: its mean is 0 and inv_std = 1/√(mean(x²) + eps).
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// y = [relu](γ·x̂ + β [+ residual]); gamma, beta [C]; mean [samples, 2, C], inv_std [samples, C].
struct GroupNormForward {
  int samples = 1;
  int pixels = 1, channels = 0, groups = 1;
  double eps = 1e-5;
  bool relu = false;
  bool centered = true;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "group norm";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &GroupNormForward::pixels);
    field("x{}", &GroupNormForward::channels);
    field(" groups {}", &GroupNormForward::groups);
    field(" eps {}", &GroupNormForward::eps);
    field(" relu", &GroupNormForward::relu);
    field("", &GroupNormForward::centered, " uncentered");
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, Stored> residual;
    Out<As, Stored> y;
    Out<As, float> mean, inv_std;
  };
};

/// The masked gradient g is defined as in BatchGradientSums.
struct GroupNormBackward {
  int samples = 1;
  int pixels = 1, channels = 0, groups = 1;
  bool relu = false;
  bool centered = true;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "group norm backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &GroupNormBackward::pixels);
    field("x{}", &GroupNormBackward::channels);
    field(" groups {}", &GroupNormBackward::groups);
    field(" relu", &GroupNormBackward::relu);
    field("", &GroupNormBackward::centered, " uncentered");
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> dy2;
    In<As, Stored> x;
    In<As, float> mean, inv_std;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, Stored> y;
    Out<As, Stored> dx;
    OptionalOut<As, float> dgamma, dbeta;
    OptionalOut<As, Stored> g;
  };
};

}  // namespace syncnorm
