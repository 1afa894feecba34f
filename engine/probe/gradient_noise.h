// The signal-to-noise ratio of a gradient: the gradient over all images, compared with the random
// part that comes from the choice of a batch. See McCandlish et al. 2018, "An empirical model of
// large-batch training", section 2.2 and appendix A.
//
// The two halves of a batch have gradients g₁ and g₂, each of the mean loss over n₁ or n₂ images.
// With 𝒢 the gradient over all images and Σ the covariance of single images' gradients, E[g₁·g₂] =
// ‖𝒢‖² and E‖g₁ − g₂‖² = (1/n₁ + 1/n₂)·tr Σ. Both are thus estimated without bias from one batch,
// for any number of replicas. Normalization over the batch couples its images, so their gradients
// are then only approximately independent.
#pragma once

#include <span>
#include <vector>

#include "engine/probe/landscape.h"

namespace syncnorm {

struct GradientNoise {
  double signal = 0.0;  // estimate of ‖𝒢‖²; may be below 0 if noise dominates
  double noise = 0.0;   // estimate of tr Σ, per image
  /// signal / (noise / n), for the gradient over all n images of the batch. n divided by it is
  /// McCandlish's simple noise scale, in images: the batch size at which signal and noise are
  /// equal.
  double ratio = 0.0;
};

/// The gradient over one half of a batch, and its number of images (at least 1).
struct HalfGradient {
  std::span<const float> gradient;
  double samples = 1.0;
};

/// Returns one entry per layer, in order; a layer is given by the ranges of its parameters.
std::vector<GradientNoise> measure_gradient_noise(const HalfGradient& first,
                                                  const HalfGradient& second,
                                                  std::span<const std::vector<Range>> layers);

}  // namespace syncnorm
