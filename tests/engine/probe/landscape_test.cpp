// Quadratic losses, where everything along the gradient is known.
#include "engine/probe/landscape.h"

#include <gtest/gtest.h>

#include <cmath>

namespace syncnorm {
namespace {

/// L(x) = ½ Σ hᵢ·xᵢ²: ∇L = h·x, so x − α·g is (1 − α·h)·x.
struct Quadratic {
  std::vector<double> h;

  LossAndGradient operator()(std::span<const float> x) const {
    LossAndGradient result;
    for (std::size_t i = 0; i < h.size(); ++i) {
      const auto v = static_cast<double>(x[i]);
      result.loss += 0.5 * h[i] * v * v;
      result.gradient.push_back(static_cast<float>(h[i] * v));
    }
    return result;
  }
};

TEST(Landscape, OfAQuadraticLoss) {
  const Quadratic loss{{2.0, 2.0}};
  const std::vector<float> x = {3.0f, 4.0f};  // L = 25, ‖g‖ = 10
  const std::vector<double> steps = {0.25, 0.5, 1.5};
  const Landscape found = measure_landscape(x, loss(x), steps, loss);
  EXPECT_EQ(found.alpha, steps);
  // (1 − 2α)²·25, and ‖g − (1 − 2α)·g‖ = 20·α.
  EXPECT_EQ(found.loss, (std::vector<double>{6.25, 0.0, 100.0}));
  EXPECT_EQ(found.predictiveness, (std::vector<double>{5.0, 10.0, 30.0}));
  EXPECT_EQ(found.loss_low, 0.0);
  EXPECT_EQ(found.loss_high, 100.0);
  EXPECT_NEAR(found.smoothness, 2.0, 1e-12);  // the curvature, at every step
  EXPECT_NEAR(found.lipschitz, 7.5, 1e-12);   // |25 − 6.25|/2.5; 25/5 and 75/15 are less
}

TEST(Landscape, SmoothnessIsBetweenTheCurvatures) {
  const Quadratic loss{{1.0, 10.0}};
  const std::vector<float> x = {1.0f, 1.0f};  // g = (1, 10)
  const Landscape found = measure_landscape(x, loss(x), {0.1}, loss);
  // The gradient changes by α·(1, 100), x by α·(1, 10).
  EXPECT_NEAR(found.smoothness, std::sqrt(1.0 + 1e4) / std::sqrt(101.0), 1e-5);
}

TEST(Landscape, FlatAndFrozen) {
  const Quadratic loss{{1.0}};
  const std::vector<float> x = {0.0f, 7.0f};  // the second has no gradient: it is frozen
  const Landscape found =
      measure_landscape(x, loss(x), {0.1, 0.2}, [&](std::span<const float> there) {
        EXPECT_EQ(there[1], 7.0f);
        return loss(there);
      });
  EXPECT_EQ(found.smoothness, 0.0);
  EXPECT_EQ(found.lipschitz, 0.0);
  EXPECT_EQ(found.predictiveness, (std::vector<double>{0.0, 0.0}));
}

// L = x·y·z in three layers: ∂L/∂y = x·z and ∂L/∂z = x·y, so that G' has what came before updated.
TEST(CovariateShift, OfAProduct) {
  const auto product = [](std::span<const float> v) {
    return LossAndGradient{static_cast<double>(v[0] * v[1] * v[2]),
                           {v[1] * v[2], v[0] * v[2], v[0] * v[1]}};
  };
  const std::vector<float> before = {2.0f, 3.0f, 5.0f}, after = {1.0f, -4.0f, 6.0f};
  const std::vector<std::vector<Range>> layers = {{{0, 1}}, {{1, 2}}, {{2, 3}}};
  const LossAndGradient at = product(before);
  const std::vector<CovariateShift> shifts =
      measure_covariate_shift(before, after, at.gradient, layers, product);
  ASSERT_EQ(shifts.size(), 3u);
  EXPECT_EQ(shifts[0].distance, 0.0);
  EXPECT_EQ(shifts[0].cosine, 1.0);
  EXPECT_EQ(shifts[1].gradient_norm, 10.0);
  EXPECT_EQ(shifts[1].distance, 5.0);  // 2·5 becomes 1·5
  EXPECT_EQ(shifts[1].cosine, 1.0);
  EXPECT_EQ(shifts[2].gradient_norm, 6.0);
  EXPECT_EQ(shifts[2].distance, 10.0);  // 2·3 becomes 1·(−4)
  EXPECT_EQ(shifts[2].cosine, -1.0);
}

// A layer may lie in several places, and not in the order of the layers.
TEST(CovariateShift, OfALayerInTwoPlaces) {
  const auto loss = [](std::span<const float> v) {  // L = v₁·(v₀ + 2·v₂)
    return LossAndGradient{0.0, {v[1], v[0] + 2.0f * v[2], 2.0f * v[1]}};
  };
  const std::vector<float> before = {1.0f, 2.0f, 3.0f}, after = {0.0f, 4.0f, 0.0f};
  const std::vector<std::vector<Range>> layers = {{{1, 2}}, {{2, 3}, {0, 1}}};
  const std::vector<CovariateShift> shifts =
      measure_covariate_shift(before, after, loss(before).gradient, layers, loss);
  EXPECT_NEAR(shifts[1].gradient_norm, 2.0 * std::sqrt(5.0), 1e-12);
  EXPECT_NEAR(shifts[1].distance, 2.0 * std::sqrt(5.0), 1e-12);
  EXPECT_NEAR(shifts[1].cosine, 1.0, 1e-12);
}

}  // namespace
}  // namespace syncnorm
