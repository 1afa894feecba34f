// Batch norms whose statistics are averaged over updates. They use batch norm's sums and passes;
// these operations stand between them, on the group's totals.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// Momentum batch norm (Yong et al. 2020) takes its statistics from a moving pair: μ = λ·μ + (1 −
/// λ)·μ_B, s² = λ·s² + (1 − λ)·s²_B, with the batch's own on the right. λ rises from 0, in the
/// first update, to 1 − `share` in update `ramp`. `share`: the set's images / those of an ideal
/// set, at most 1.
struct MomentumSchedule {
  double share = 1.0;
  int ramp = 1;  // updates

  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field(" share {}", &MomentumSchedule::share);
    field(" over {}", &MomentumSchedule::ramp);
  }
};

/// From the group's sums f64 [2C+1] and the moving pair: mean [2, C], inv_std [C], and `mixing` f64
/// [1+C], which the backward pass needs: 1 − λ, then μ − μ_B. The moving pair [C] is updated when
/// StepState says so; the running pair as in BatchFinalize.
struct MomentumFinalize {
  int samples = 1;
  int channels = 0;
  double eps = 1e-5, momentum = 0.1;
  MomentumSchedule schedule = {};

  static constexpr const char* kName = "momentum bn finalize";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &MomentumFinalize::channels);
    field(" eps {}", &MomentumFinalize::eps);
    field(" momentum {}", &MomentumFinalize::momentum);
    field("", &MomentumFinalize::schedule);
  }
  template <class As>
  struct Operands {
    In<As, double> sums;
    Out<As, float> mean, inv_std;
    Out<As, double> mixing;
    InOut<As, float> moving_mean, moving_var;
    OptionalInOut<As, float> running_mean, running_var;
  };
};

/// The sums f64 [2C] with which BatchInputGradient computes the gradient of momentum batch norm,
/// from the group's sums of BatchGradientSums. The moving pair of the update before is a constant.
struct MomentumGradient {
  int samples = 1;
  int channels = 0;

  static constexpr const char* kName = "momentum bn sums";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &MomentumGradient::channels);
  }
  template <class As>
  struct Operands {
    In<As, double> gradient_sums, mixing;
    In<As, float> inv_std;
    Out<As, double> constants;
  };
};

/// Moving average batch norm (Yan et al. 2020) divides by the root of a second moment, and
/// subtracts no mean. Statistics are means over the last `window` updates, once there are as many
/// and `start` updates have been made; before, they are the batch's. r = √(χ + eps)/√(running_var +
/// eps), clipped to [1/r_max, r_max], is a constant; it is 1 in the first `correct_from` updates.
struct MovingWindow {
  int window = 16, start = 100;
  double r_max = 5.0;
  int correct_from = 1000;

  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field(" window {}", &MovingWindow::window);
    field(" from {}", &MovingWindow::start);
    field(" r {}", &MovingWindow::r_max);
    field(" from {}", &MovingWindow::correct_from);
  }
};

/// From the group's sums f64 [2C+1]: mean [2, C], which is 0; inv_std [C], 1/√(χ + eps) of the
/// moment χ; correction [2, C], r and 0. squares [window, C] are the moments of the last updates,
/// and running_var is the average of χ over updates; both are updated when StepState says so.
struct MovingFinalize {
  int samples = 1;
  int channels = 0;
  double eps = 1e-5, momentum = 0.02;
  MovingWindow window = {};

  static constexpr const char* kName = "moving bn finalize";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &MovingFinalize::channels);
    field(" eps {}", &MovingFinalize::eps);
    field(" momentum {}", &MovingFinalize::momentum);
    field("", &MovingFinalize::window);
  }
  template <class As>
  struct Operands {
    In<As, double> sums;
    Out<As, float> mean, inv_std, correction;
    InOut<As, float> squares, running_var;
  };
};

/// The sums f64 [2C] of a `weighted` BatchInputGradient, from the group's sums of
/// BatchGradientSums: 0, and the mean of γ·r·g·x̂, over the updates of the window, times the count.
/// gradients [window, C] are those means of the last updates.
struct MovingGradient {
  int samples = 1;
  int channels = 0;
  MovingWindow window = {};

  static constexpr const char* kName = "moving bn sums";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &MovingGradient::channels);
    field("", &MovingGradient::window);
  }
  template <class As>
  struct Operands {
    In<As, double> gradient_sums, sums;
    In<As, float> correction;
    OptionalIn<As, float> gamma;
    Out<As, double> constants;
    InOut<As, float> gradients;
  };
};

}  // namespace syncnorm
