// Batch normalization in pieces, between which the caller reduces sums over the group.
//
// x̂ = (x − mean)·inv_std. A mean is kept as two f32 vectors, [2, C]: the rounded value and its
// rounding remainder. The remainder enters only per-channel constants, so means far from zero cost
// no accuracy.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// Sums of this call's samples, f64 [2C+1]: count, count·mean, M2 + count·mean².
struct BatchMoments {
  int samples = 1;
  int pixels = 1, channels = 0;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "bn statistics";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchMoments::pixels);
    field("x{}", &BatchMoments::channels);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    Out<As, double> sums;
  };
};

/// Batch renormalization (Ioffe 2017) multiplies x̂ by r and adds d, which the backward pass treats
/// as constants: r = clip(σ / σ_running, 1/r_max, r_max), d = clip((μ − μ_running) / σ_running,
/// ±d_max). During the first `start` updates r = 1 and d = 0; then the limits widen linearly over
/// `ramp` updates.
struct Renormalization {
  bool on = false;
  double r_max = 3.0, d_max = 5.0;
  int start = 0, ramp = 0;

  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field(" renormalized", &Renormalization::on);
    field(" r {}", &Renormalization::r_max);
    field(" d {}", &Renormalization::d_max);
    field(" from {}", &Renormalization::start);
    field(" over {}", &Renormalization::ramp);
  }
};

/// Statistics from the group's sums, f64 [2C+1]: mean [2, C] and inv_std [C]; running_mean and
/// running_var [C] each; correction [2, C]: r and d, computed from the running statistics before
/// their update. `renormalization.on` needs a correction and running statistics. The running
/// statistics are updated when StepState says so and the count is at least 2.
struct BatchFinalize {
  int samples = 1;
  int channels = 0;
  double eps = 1e-5, momentum = 0.1;
  Renormalization renormalization = {};

  static constexpr const char* kName = "bn finalize";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchFinalize::channels);
    field(" eps {}", &BatchFinalize::eps);
    field(" momentum {}", &BatchFinalize::momentum);
    field("", &BatchFinalize::renormalization);
  }
  template <class As>
  struct Operands {
    In<As, double> sums;
    Out<As, float> mean, inv_std;
    OptionalInOut<As, float> running_mean, running_var;
    OptionalOut<As, float> correction;
  };
};

/// BatchNorm with a measure of deviation other than the root mean square (Hoffer et al. 2018,
/// Santurkar et al. 2018): s = factor·mean|x−μ| (l1) or max|x−μ| (linf); inv_std = 1/√(s² + eps),
/// and s² replaces the variance in running_var.
enum class Deviation { l2, l1, linf };

/// Sums that a deviation needs, given the mean:
///   absolute: f64 [2C]: Σ|x−μ|, Σ sign(x−μ)
///   largest:  f64 [C]: max|x−μ|, to be reduced by the maximum
///   maxima:   given the group's largest, f64 [2C]: how many |x−μ| equal it, and Σ sign of those
enum class DeviationPart { absolute, largest, maxima };

struct BatchDeviation {
  int samples = 1;
  int pixels = 1, channels = 0;
  DeviationPart part = DeviationPart::absolute;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "bn deviation";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchDeviation::pixels);
    field("x{}", &BatchDeviation::channels);
    field(" {}", &BatchDeviation::part);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, float> mean;
    OptionalIn<As, double> largest;
    Out<As, double> totals;
  };
};

/// From the group: sums f64 [2C+1] of the forward pass (for the count), and the deviation totals
/// (absolute or largest).
struct BatchFinalizeDeviation {
  int samples = 1;
  int channels = 0;
  Deviation deviation = Deviation::l1;
  double factor = 1.0;  // l1: √(π/2) makes s the standard deviation of normal values
  double eps = 1e-5, momentum = 0.1;

  static constexpr const char* kName = "bn finalize deviation";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchFinalizeDeviation::channels);
    field(" {}", &BatchFinalizeDeviation::deviation);
    field(" factor {}", &BatchFinalizeDeviation::factor);
    field(" eps {}", &BatchFinalizeDeviation::eps);
    field(" momentum {}", &BatchFinalizeDeviation::momentum);
  }
  template <class As>
  struct Operands {
    In<As, double> sums, deviation;
    Out<As, float> inv_std;
    OptionalInOut<As, float> running_var;
  };
};

/// totals f64 [count] += sums, for statistics over several batches.
struct Accumulate {
  int samples = 1;
  int count = 0;

  static constexpr const char* kName = "accumulate";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &Accumulate::count);
  }
  template <class As>
  struct Operands {
    In<As, double> sums;
    InOut<As, double> totals;
  };
};

/// Computes mean [2, C] and inv_std [C] from the running statistics.
struct BatchFromRunning {
  int samples = 1;
  int channels = 0;
  double eps = 1e-5;

  static constexpr const char* kName = "bn from running";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchFromRunning::channels);
    field(" eps {}", &BatchFromRunning::eps);
  }
  template <class As>
  struct Operands {
    In<As, float> running_mean, running_var;
    Out<As, float> mean, inv_std;
  };
};

/// Mixes the statistics of one sample, sums f64 [2C+1], with the running ones (Summers & Dinneen
/// 2020, "inference example weighing"): with w = StepState::sample_weight in [0, 1], mean = w·E[x]
/// + (1 − w)·running_mean, and the second moments E[x²] likewise; the variance follows from both.
/// mean [2, C], inv_std [C]; with w = 0 those of BatchFromRunning.
struct BatchMix {
  int samples = 1;
  int channels = 0;
  double eps = 1e-5;

  static constexpr const char* kName = "bn mix";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchMix::channels);
    field(" eps {}", &BatchMix::eps);
  }
  template <class As>
  struct Operands {
    In<As, double> sums;
    In<As, float> running_mean, running_var;
    Out<As, float> mean, inv_std;
  };
};

/// y = [relu](γ·x̂ + β [+ residual]); where there is a correction, x̂·r + d takes the place of x̂.
struct BatchNormalize {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "bn apply";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchNormalize::pixels);
    field("x{}", &BatchNormalize::channels);
    field(" relu", &BatchNormalize::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, float> mean, inv_std;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, Stored> residual;
    OptionalIn<As, float> correction;
    Out<As, Stored> y;
  };
};

/// sums f64 [2C]: Σg, Σg·(x−mean)·inv_std, where g = (dy [+ dy2]) masked by ReLU: by y > 0 when y
/// is given, else by y recomputed from x.
struct BatchGradientSums {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "bn sums";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchGradientSums::pixels);
    field("x{}", &BatchGradientSums::channels);
    field(" relu", &BatchGradientSums::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> dy2;
    In<As, Stored> x;
    In<As, float> mean, inv_std;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, Stored> y;
    OptionalIn<As, float> correction;
    Out<As, double> sums;
    OptionalOut<As, float> dgamma, dbeta;
    OptionalOut<As, Stored> g;
  };
};

/// dx from g (or from dy, masked here when `relu`), the group's gradient sums f64 [2C] and forward
/// sums f64 [2C+1] (for the count). An L1 or L∞ norm also needs the deviation, and linf the maxima.
/// `weighted`: the gradient sums are of γ·g, not of g, corrected where there is a correction.
/// `frozen`: the statistics are constants, so dx = γ·inv_std·g; sums are not read, and x only for
/// the mask.
struct BatchInputGradient {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Deviation deviation = Deviation::l2;
  double factor = 1.0;
  bool frozen = false;
  Storage storage = Storage::f32;
  bool weighted = false;

  static constexpr const char* kName = "bn dgrad";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &BatchInputGradient::pixels);
    field("x{}", &BatchInputGradient::channels);
    field(" relu", &BatchInputGradient::relu);
    field(" frozen", &BatchInputGradient::frozen);
    field(" {}", &BatchInputGradient::deviation);
    field(" factor {}", &BatchInputGradient::factor);
    field(" weighted", &BatchInputGradient::weighted);
  }
  template <class As>
  struct Operands {
    In<As, Stored> g, x;
    In<As, float> mean, inv_std;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, double> gradient_sums, sums;
    OptionalIn<As, float> correction;
    OptionalIn<As, double> deviation, maxima;
    Out<As, Stored> dx;
  };
};

}  // namespace syncnorm
