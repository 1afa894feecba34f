// The loss along its gradient, and what an update does to the gradients of later layers: the
// measures of Santurkar et al. 2018, "How does batch normalization help optimization?".
//
// Both ask a function for the loss and its gradient at other parameters; they know no network.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace syncnorm {

struct LossAndGradient {
  double loss = 0.0;
  std::vector<float> gradient;
};

/// Loss and gradient at `parameters`, on the step's batch.
using EvaluateFunction = std::function<LossAndGradient(std::span<const float> parameters)>;

/// At x − α·g, g the gradient at x, for ascending α.
struct Landscape {
  std::vector<double> alpha;
  std::vector<double> loss;
  std::vector<double> predictiveness;  // ‖∇L(x) − ∇L(x − α·g)‖₂
  double loss_low = 0.0, loss_high = 0.0;
  /// Effective β-smoothness: the largest predictiveness over the distance α·‖g‖.
  double smoothness = 0.0;
  /// The loss's Lipschitz constant: the largest |L(x) − L(x − α·g)| over that distance.
  double lipschitz = 0.0;
};

/// `steps`: the values of α, ascending. Both measures of smoothness are 0 where the gradient is.
Landscape measure_landscape(std::span<const float> x, const LossAndGradient& at_x,
                            const std::vector<double>& steps, const EvaluateFunction& evaluate);

/// The difference that the update of earlier layers makes to a layer's gradient (their definition
/// 2.1): ‖G − G'‖₂ and cos(G, G'), G' with the layers before updated and this and later ones not.
struct CovariateShift {
  double gradient_norm = 0.0;  // ‖G‖₂
  double distance = 0.0;
  double cosine = 1.0;  // nan where one of them is zero
};

/// Places in the flat parameters.
struct Range {
  std::size_t begin = 0, end = 0;
};

/// One entry per layer, in order; a layer is the ranges of its parameters.
std::vector<CovariateShift> measure_covariate_shift(std::span<const float> before,
                                                    std::span<const float> after,
                                                    std::span<const float> gradient,
                                                    std::span<const std::vector<Range>> layers,
                                                    const EvaluateFunction& evaluate);

/// ‖a‖₂ and ‖a − b‖₂, added in order in f64.
double norm_of(std::span<const float> a);
double distance_of(std::span<const float> a, std::span<const float> b);

}  // namespace syncnorm
