// EvoNorm-B0 (Liu et al. 2020, "Evolving Normalization-Activation Layers") in pieces, between which
// the caller reduces sums over the group:
//   y = γ·x/D + β,   D = max(σ_B, v·x + σ_I),
// where σ = √(s² + eps) of the biased variance: σ_B of a channel in the whole group, σ_I of a
// channel in one sample. σ_B comes from BatchFinalize or BatchFromRunning, as inv_std = 1/σ_B.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// The sums of BatchMoments, f64 [2C+1], and the statistics of each sample: its mean [samples, 2,
/// C] (value and rounding remainder), and deviation [samples, C], σ_I. An evaluation needs no sums.
struct EvoNormMoments {
  int samples = 1;
  int pixels = 1, channels = 0;
  double eps = 1e-5;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "evonorm b0 statistics";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &EvoNormMoments::pixels);
    field("x{}", &EvoNormMoments::channels);
    field(" eps {}", &EvoNormMoments::eps);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    OptionalOut<As, double> sums;
    Out<As, float> mean, deviation;
  };
};

/// y = [relu](γ·x/D + β [+ residual]); slope is v.
struct EvoNormApply {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "evonorm b0 apply";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &EvoNormApply::pixels);
    field("x{}", &EvoNormApply::channels);
    field(" relu", &EvoNormApply::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, float> inv_std, deviation;
    OptionalIn<As, float> gamma, beta;
    In<As, float> slope;
    OptionalIn<As, Stored> residual;
    Out<As, Stored> y;
  };
};

/// The gradient g is masked by the ReLU as in BatchGradientSums. Where D = σ_B, x belongs to the
/// batch, elsewhere to its sample: `sums` f64 [C] are Σγ·g·x over the former, sample_sums f64
/// [samples, C] are Σγ·g·x/D² over the latter.
struct EvoNormGradientSums {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "evonorm b0 sums";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &EvoNormGradientSums::pixels);
    field("x{}", &EvoNormGradientSums::channels);
    field(" relu", &EvoNormGradientSums::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> dy2;
    In<As, Stored> x;
    In<As, float> inv_std, deviation;
    OptionalIn<As, float> gamma, beta;
    In<As, float> slope;
    OptionalIn<As, Stored> y;
    Out<As, double> sums, sample_sums;
    OptionalOut<As, float> dgamma, dbeta, dslope;
    OptionalOut<As, Stored> g;
  };
};

/// dx from g (or from dy, masked here when `relu`), the group's forward sums f64 [2C+1] and
/// gradient sums f64 [C], and the sums of each sample; mean and sample_mean are the group's [2, C]
/// and each sample's [samples, 2, C].
struct EvoNormInputGradient {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "evonorm b0 dgrad";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &EvoNormInputGradient::pixels);
    field("x{}", &EvoNormInputGradient::channels);
    field(" relu", &EvoNormInputGradient::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> g, x;
    In<As, float> mean, inv_std, sample_mean, deviation;
    OptionalIn<As, float> gamma, beta;
    In<As, float> slope;
    In<As, double> sums, gradient_sums, sample_sums;
    Out<As, Stored> dx;
  };
};

}  // namespace syncnorm
