// Losses whose gradients over single images, their mean and their covariance are known.
#include "engine/probe/gradient_noise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/philox.h"

namespace syncnorm {
namespace {

TEST(GradientNoise, OfTwoHalvesIsItsFormula) {
  // g₁ = (3, 1 | 2), g₂ = (1, −1 | 2), over 3 and 1 images; two layers.
  const std::vector<float> first = {3.0f, 1.0f, 2.0f}, second = {1.0f, -1.0f, 2.0f};
  const std::vector<std::vector<Range>> layers = {{{0, 1}, {1, 2}}, {{2, 3}}};
  const auto found = measure_gradient_noise({first, 3.0}, {second, 1.0}, layers);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].signal, 3.0 - 1.0);
  EXPECT_EQ(found[0].noise, (4.0 + 4.0) / (1.0 / 3.0 + 1.0));
  EXPECT_EQ(found[0].ratio, 2.0 / (6.0 / 4.0));
  EXPECT_EQ(found[1].signal, 4.0);  // equal halves have no noise
  EXPECT_EQ(found[1].noise, 0.0);
  EXPECT_TRUE(std::isinf(found[1].ratio));
}

// The loss of image i is ½‖w − xᵢ‖², xᵢ ~ N(0, 4): its gradient is w − xᵢ, so ‖𝒢‖² = ‖w‖² and
// tr Σ = 4·dimensions. Both estimates are unbiased: their means over batches are those.
TEST(GradientNoise, EstimatesWithoutBias) {
  const std::size_t dimensions = 50, batches = 400;
  const double images = 6.0;
  const std::vector<std::vector<Range>> layer = {{{0, dimensions}}};
  double signal = 0.0, noise = 0.0;
  RandomStream random(3, RandomPurpose::synthetic_data, 0, 0);
  for (std::size_t b = 0; b < batches; ++b) {
    std::vector<float> halves[2];
    for (auto& half : halves)
      for (std::size_t d = 0; d < dimensions; ++d) {
        double mean = 0.0;
        for (int i = 0; i < 3; ++i) mean += 2.0 * random.normal() / 3.0;
        half.push_back(static_cast<float>(0.5 - mean));
      }
    const GradientNoise found =
        measure_gradient_noise({halves[0], 3.0}, {halves[1], 3.0}, layer)[0];
    signal += found.signal / batches;
    noise += found.noise / batches;
    EXPECT_NEAR(found.ratio, found.signal / (found.noise / images), 1e-12);
  }
  // Deviations of the means: of the signal √50·(4/3 + 2·0.5·…)/20 < 0.6, of the noise 2.
  EXPECT_NEAR(signal, 0.25 * dimensions, 2.5);
  EXPECT_NEAR(noise, 4.0 * dimensions, 10.0);
}

}  // namespace
}  // namespace syncnorm
