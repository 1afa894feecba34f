// How much of a gradient is signal: what it would be over all images, against what it owes to those
// that happened to be in the batch; after McCandlish et al. 2018, "An empirical model of
// large-batch training", section 2.2 and appendix A.
//
// Two halves of a batch have gradients of their own, g₁ and g₂, each of the mean loss over its
// half. With 𝒢 the gradient over all images and Σ the covariance of single images' gradients,
// E[g₁·g₂] = ‖𝒢‖² and E‖g₁ − g₂‖² = (1/n₁ + 1/n₂)·tr Σ: both are estimated without bias, from one
// batch, and whatever the number of replicas. Normalization over the batch ties its images
// together, so that their gradients are independent only as far as that allows.
#pragma once

#include <span>
#include <vector>

#include "engine/probe/landscape.h"

namespace syncnorm {

struct GradientNoise {
  double signal = 0.0;  // estimate of ‖𝒢‖²; below 0 where noise drowns it
  double noise = 0.0;   // estimate of tr Σ, per image
  /// signal / (noise / n): of the gradient over all n images of the batch. n over it is
  /// McCandlish's simple noise scale, in images: the batch at which signal and noise are equal.
  double ratio = 0.0;
};

/// The gradient over one half of a batch, and how many images that is (at least 1).
struct HalfGradient {
  std::span<const float> gradient;
  double samples = 1.0;
};

/// One entry per layer, in order; a layer is the ranges of its parameters.
std::vector<GradientNoise> measure_gradient_noise(const HalfGradient& first,
                                                  const HalfGradient& second,
                                                  std::span<const std::vector<Range>> layers);

}  // namespace syncnorm
