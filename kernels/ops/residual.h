// The end of a residual branch with a learned scale.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// y = residual + alpha·gain·x [then max(·, 0) when `relu`], with a learned gain [1]: SkipInit (De
/// & Smith 2020), ReZero (Bachlechner et al. 2020), and the branches of normalizer-free networks
/// (Brock et al. 2021). x, residual and y [samples, pixels, channels].
struct ScaledAddForward {
  int samples = 1;
  int pixels = 1, channels = 0;
  double alpha = 1.0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "scaled add";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ScaledAddForward::pixels);
    field("x{}", &ScaledAddForward::channels);
    field(" alpha {}", &ScaledAddForward::alpha);
    field(" relu", &ScaledAddForward::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, float> gain;
    In<As, Stored> residual;
    Out<As, Stored> y;
  };
};

/// With g = dy [+ dy2], zeroed where y ≤ 0 when `relu`: dx = alpha·gain·g and dgain = alpha·Σ g·x
/// over all values. g, which is the gradient of the residual, is written where it is asked for.
struct ScaledAddBackward {
  int samples = 1;
  int pixels = 1, channels = 0;
  double alpha = 1.0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "scaled add backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ScaledAddBackward::pixels);
    field("x{}", &ScaledAddBackward::channels);
    field(" alpha {}", &ScaledAddBackward::alpha);
    field(" relu", &ScaledAddBackward::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> dy2;
    In<As, Stored> x;
    In<As, float> gain;
    OptionalIn<As, Stored> y;
    Out<As, Stored> dx;
    Out<As, float> dgain;
    OptionalOut<As, Stored> g;
  };
};

}  // namespace syncnorm
