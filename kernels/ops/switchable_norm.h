// Switchable normalization (Luo et al. 2018): mean and variance are learned mixtures of those of
// the sample's channel (instance norm), of the sample (layer norm) and of the batch (batch norm):
//   μ = w_in·μ_in + w_ln·μ_ln + w_bn·μ_bn,  s² = v_in·s²_in + v_ln·s²_ln + v_bn·s²_bn,
// with w and v the softmax of three parameters each, mean_weight and var_weight, in this order. All
// variances are biased.
//
// moments f64 [samples, 2, C] and layer f64 [samples, 2]: mean and variance of each sample's
// channels and of each sample. batch f64 [2, C]: mean and variance over the batch.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// sums f64 [2C+1] as of BatchMoments.
struct SwitchableMoments {
  int samples = 1;
  int pixels = 1, channels = 0;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "switchable moments";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SwitchableMoments::pixels);
    field("x{}", &SwitchableMoments::channels);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    Out<As, double> moments, layer, sums;
  };
};

/// Computes batch from the sums of all replicas, or from the running pair where sums are absent.
/// Updates the running pair, whose variance is unbiased, where it is given beside sums.
struct SwitchableFinalize {
  int samples = 1;
  int channels = 0;
  double momentum = 0.1;

  static constexpr const char* kName = "switchable finalize";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SwitchableFinalize::channels);
    field(" momentum {}", &SwitchableFinalize::momentum);
  }
  template <class As>
  struct Operands {
    OptionalIn<As, double> sums;
    Out<As, double> batch;
    InOut<As, float> running_mean, running_var;
  };
};

/// y = [relu](γ·(x − μ)/√(s² + eps) + β [+ residual]); mean [samples, 2, C] is μ as a float and its
/// remainder, inv_std [samples, C].
struct SwitchableForward {
  int samples = 1;
  int pixels = 1, channels = 0;
  double eps = 1e-5;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "switchable norm";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SwitchableForward::pixels);
    field("x{}", &SwitchableForward::channels);
    field(" eps {}", &SwitchableForward::eps);
    field(" relu", &SwitchableForward::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, double> moments, layer, batch;
    In<As, float> mean_weight, var_weight;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, Stored> residual;
    Out<As, Stored> y;
    Out<As, float> mean, inv_std;
  };
};

/// The masked gradient g is defined as in BatchGradientSums. local f64 [samples, 2, C]: the
/// gradients of μ and s² of each sample's channels; sums f64 [2, C]: what of their sums over
/// samples belongs to the batch's statistics.
struct SwitchableGradientSums {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "switchable gradient sums";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SwitchableGradientSums::pixels);
    field("x{}", &SwitchableGradientSums::channels);
    field(" relu", &SwitchableGradientSums::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> dy2;
    In<As, Stored> x;
    In<As, float> mean, inv_std;
    In<As, double> moments, layer, batch;
    In<As, float> mean_weight, var_weight;
    OptionalIn<As, float> gamma, beta;
    OptionalIn<As, Stored> y;
    Out<As, double> local, sums;
    OptionalOut<As, float> dgamma, dbeta;
    Out<As, float> dmean_weight, dvar_weight;
    OptionalOut<As, Stored> g;
  };
};

/// gradient_sums f64 [2, C]: `sums` above, of all replicas; sums f64 [2C+1]: of the forward pass.
struct SwitchableInputGradient {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "switchable input gradient";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SwitchableInputGradient::pixels);
    field("x{}", &SwitchableInputGradient::channels);
    field(" relu", &SwitchableInputGradient::relu);
  }
  template <class As>
  struct Operands {
    In<As, Stored> g, x;
    In<As, float> mean, inv_std;
    In<As, double> moments, layer, batch;
    In<As, float> mean_weight, var_weight;
    OptionalIn<As, float> gamma, beta;
    In<As, double> local, gradient_sums, sums;
    Out<As, Stored> dx;
  };
};

}  // namespace syncnorm
