// The loss along its gradient, and the effect of an update on the gradients of later layers: the
// measures of Santurkar et al. 2018, "How does batch normalization help optimization?".
//
// Both call a function for the loss and its gradient at other parameters, and do not depend on a
// network.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace syncnorm {

struct LossAndGradient {
  double loss = 0.0;
  std::vector<float> gradient;
};

/// Returns loss and gradient at `parameters`, on the step's batch.
using EvaluateFunction = std::function<LossAndGradient(std::span<const float> parameters)>;

/// Measurements at x − α·g, with g the gradient at x, for ascending α.
struct Landscape {
  std::vector<double> alpha;
  std::vector<double> loss;
  std::vector<double> predictiveness;  // ‖∇L(x) − ∇L(x − α·g)‖₂
  double loss_low = 0.0, loss_high = 0.0;
  /// Effective β-smoothness: the maximum of predictiveness / (α·‖g‖).
  double smoothness = 0.0;
  /// The Lipschitz constant of the loss: the maximum of |L(x) − L(x − α·g)| / (α·‖g‖).
  double lipschitz = 0.0;
};

/// Measures the landscape for the values of α in `steps`, ascending. Smoothness and lipschitz are 0
/// if the gradient is.
Landscape measure_landscape(std::span<const float> x, const LossAndGradient& at_x,
                            const std::vector<double>& steps, const EvaluateFunction& evaluate);

/// The change of a layer's gradient due to the update of earlier layers (their definition 2.1): ‖G
/// − G'‖₂ and cos(G, G'), where G' is taken with the earlier layers updated, but not this one and
/// later ones.
struct CovariateShift {
  double gradient_norm = 0.0;  // ‖G‖₂
  double distance = 0.0;
  double cosine = 1.0;  // nan if G or G' is zero
};

/// A range of indices in the flat parameters.
struct Range {
  std::size_t begin = 0, end = 0;
};

/// Returns one entry per layer, in order; a layer is given by the ranges of its parameters.
std::vector<CovariateShift> measure_covariate_shift(std::span<const float> before,
                                                    std::span<const float> after,
                                                    std::span<const float> gradient,
                                                    std::span<const std::vector<Range>> layers,
                                                    const EvaluateFunction& evaluate);

/// Return ‖a‖₂ and ‖a − b‖₂, summed in order in f64.
double norm_of(std::span<const float> a);
double distance_of(std::span<const float> a, std::span<const float> b);

}  // namespace syncnorm
