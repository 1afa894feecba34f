// Cross-iteration batch norm (Yao et al. 2020): batch norm whose statistics are those of the last
// updates, corrected to first order for the change of the weights since. It uses batch norm's sums
// and passes; these operations stand between them.
//
// The layer before the norm computes x = W·p from the patches p of its input. So mean(x) has the
// slope mean(p) with respect to a filter of W, the same one for all filters, and mean(x²) has the
// slope 2·mean(x·p). An update is kept as slopes and the values at weights 0, from which its
// statistics follow at any weights.
#pragma once

#include "kernels/ops/conv.h"

namespace syncnorm {

/// Statistics over the last `window` updates, this one included; in the first `start` updates, over
/// this one alone.
struct CrossIterationWindow {
  int window = 8, start = 100;

  constexpr int kept() const { return window - 1; }

  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field(" window {}", &CrossIterationWindow::window);
    field(" from {}", &CrossIterationWindow::start);
  }
};

/// sums f64 [groups·K + weights], K the weights of a filter: per group, Σ p over all patches of x
/// in the layout of a filter, then `products`, the Σ y·p of a ConvWgrad.
struct CrossIterationSums {
  int samples = 1;
  ConvShape shape;
  Storage storage = Storage::f32;

  int patch_values() const { return shape.channels * shape.kernel * shape.kernel; }

  static constexpr const char* kName = "cross-iteration sums";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &CrossIterationSums::shape);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, float> products;
    Out<As, double> sums;
  };
};

/// From the group's sums f64 [2C+1] and the kept updates: mean [2, C], inv_std [C], and `mixing`
/// f64 [1+C] for MomentumGradient: this update's share of the values, then 0. The running pair as
/// in BatchFinalize. counts [kept] is the number of values of a kept update, 0 if there is none;
/// means and squares [kept, C] are mean(x) and mean(x²) at weights 0, mean_slopes [kept, groups, K]
/// and square_slopes [kept, C, K] their slopes. weight is [C, K].
struct CrossIterationFinalize {
  int samples = 1;
  int channels = 0, inputs = 0;  // C and K
  int groups = 1;
  double eps = 1e-5, momentum = 0.1;
  CrossIterationWindow window = {};

  static constexpr const char* kName = "cross-iteration bn finalize";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &CrossIterationFinalize::channels);
    field(" of {}", &CrossIterationFinalize::inputs);
    field(" g{}", &CrossIterationFinalize::groups, "1");
    field(" eps {}", &CrossIterationFinalize::eps);
    field(" momentum {}", &CrossIterationFinalize::momentum);
    field("", &CrossIterationFinalize::window);
  }
  template <class As>
  struct Operands {
    In<As, double> sums;
    In<As, float> weight, counts, means, squares, mean_slopes, square_slopes;
    Out<As, float> mean, inv_std;
    Out<As, double> mixing;
    OptionalInOut<As, float> running_mean, running_var;
  };
};

/// Keeps this update in place of the oldest, when StepState says so: `sums` are BatchMoments', and
/// `slopes` those of CrossIterationSums, both of the group.
struct CrossIterationKeep {
  int samples = 1;
  int channels = 0, inputs = 0;  // C and K
  int groups = 1;
  CrossIterationWindow window = {};

  static constexpr const char* kName = "cross-iteration bn keep";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &CrossIterationKeep::channels);
    field(" of {}", &CrossIterationKeep::inputs);
    field(" g{}", &CrossIterationKeep::groups, "1");
    field("", &CrossIterationKeep::window);
  }
  template <class As>
  struct Operands {
    In<As, double> sums, slopes;
    In<As, float> weight;
    InOut<As, float> counts, means, squares, mean_slopes, square_slopes;
  };
};

}  // namespace syncnorm
