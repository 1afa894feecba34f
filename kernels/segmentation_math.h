// The formulas of the per-pixel loss, for both back ends.
#pragma once

#include "base/host_device.h"
#include "kernels/ops/segmentation.h"

namespace syncnorm {

inline constexpr double kDiceSmoothing = 1e-5;

SYNCNORM_HOST_DEVICE inline double class_weight(const double* weights, int k) {
  return weights == nullptr ? 1.0 : weights[k];
}

/// Returns 1 − D of one class, from Σ p over its pixels, Σ p over all, and its pixels.
SYNCNORM_HOST_DEVICE inline double dice_loss(double own, double all, double count) {
  return 1.0 - (2.0 * own + kDiceSmoothing) / (all + count + kDiceSmoothing);
}

/// The slope of dice_loss() in the p of a pixel: `of_class` if the pixel is of the class, else
/// `of_other`.
struct DiceSlope {
  float of_class, of_other;
};

/// `scale` is the weight of the Dice loss by the number of classes.
SYNCNORM_HOST_DEVICE inline DiceSlope dice_slope(double own, double all, double count,
                                                 double scale) {
  const double below = all + count + kDiceSmoothing;
  const double other = (2.0 * own + kDiceSmoothing) / (below * below);
  return {static_cast<float>(scale * (other - 2.0 / below)), static_cast<float>(scale * other)};
}

/// The gradient of the cross-entropy of a pixel in a logit whose softmax is `p`. A pixel of the
/// class has weight `own` = (1 − ε)·w/W, its logit `target` = `own`, every other one 0; `share` is
/// ε/(K·W), `all` Σ w of the classes, `w` the logit's (PyTorch's label smoothing with weights).
template <class V>
SYNCNORM_HOST_DEVICE inline V pixel_slope(V p, V own, V target, V share, float all, float w) {
  return own * p - target + share * (p * all - w);
}

}  // namespace syncnorm
