// The worked example, number by number, against values that were worked out by hand as fractions.
#include "engine/study/trace.h"

#include <gmock/gmock.h>

#include <cmath>

namespace syncnorm {
namespace {

using ::testing::DoubleNear;
using ::testing::Pointwise;

auto near(const Values& values) { return Pointwise(DoubleNear(1e-12), values); }

NormConfig without_norm() {
  NormConfig norm;
  norm.kind = NormKind::none;
  return norm;
}

TEST(Trace, ProductsWithoutNormalization) {
  const TraceExample example = worked_example();
  const std::vector<TraceLayer> first = trace_step(example, 0, without_norm());
  ASSERT_EQ(first.size(), 2u);
  EXPECT_THAT(first[0].product, near({1.0, 1.5, 0.75, 1.25}));
  EXPECT_THAT(first[0].activated, near({1.0, 1.5, 0.75, 1.25}));
  EXPECT_NEAR(first[0].mean, 1.125, 1e-15);
  EXPECT_THAT(first[1].product, near({0.8, 1.2, 0.6, 1.0}));
  const std::vector<TraceLayer> second = trace_step(example, 1, without_norm());
  EXPECT_THAT(second[0].product, near({0.66, 0.93, 0.54, 0.81}));
  EXPECT_THAT(second[1].product, near({0.594, 0.837, 0.486, 0.729}));
  const std::vector<TraceLayer> third = trace_step(example, 2, without_norm());
  EXPECT_THAT(third[0].product, near({0.48, 0.64, 0.40, 0.56}));
  EXPECT_THAT(third[1].product, near({0.528, 0.704, 0.44, 0.616}));
  EXPECT_TRUE(third[0].normalized.empty());
}

// Products 1, 1.5, 0.75, 1.25: the mean is 9/8, the deviations are ∓1/8 and ±3/8, so σ² = 5/64 and
// the normalized values are ∓1/√5 and ±3/√5.
TEST(Trace, NormalizedValuesOfTheFirstStep) {
  const TraceExample example = worked_example();
  const std::vector<TraceLayer> layers = trace_step(example, 0, example.norm);
  const double one = 1.0 / std::sqrt(5.0);
  EXPECT_NEAR(layers[0].deviation, std::sqrt(5.0) / 8.0, 1e-15);
  EXPECT_NEAR(layers[0].deviation, 0.2795, 5e-5);
  EXPECT_THAT(layers[0].normalized, near({-one, 3 * one, -3 * one, one}));
  EXPECT_THAT(layers[0].normalized,
              Pointwise(DoubleNear(5e-4), Values{-0.447, 1.342, -1.342, 0.447}));
  EXPECT_THAT(layers[0].activated, near({0, 3 * one, 0, one}));
  // Layer 2 reads (0, 3, 0, 1)/√5: mean 1, squares' mean 2.5 in those units, σ² = 1.5.
  const double unit = 1.0 / std::sqrt(1.5);
  EXPECT_THAT(layers[1].product, near({0, 2.4 * one, 0, 0.8 * one}));
  EXPECT_THAT(layers[1].normalized, near({-unit, 2 * unit, -unit, 0}));
  EXPECT_THAT(layers[1].activated, near({0, 2 * unit, 0, 0}));
}

// A positive weight changes nothing behind batch normalization: inputs decide alone.
TEST(Trace, WeightsDoNotReachTheNormalizedValues) {
  TraceExample example = worked_example();
  const std::vector<TraceLayer> before = trace_step(example, 1, example.norm);
  for (std::vector<double>& weights : example.weights) weights[1] *= 10.0;
  const std::vector<TraceLayer> after = trace_step(example, 1, example.norm);
  EXPECT_THAT(after[0].normalized, near(before[0].normalized));
  EXPECT_THAT(after[1].normalized, near(before[1].normalized));
}

TEST(Trace, OtherDeviationsAndEps) {
  TraceExample example = worked_example();
  example.norm.deviation = Deviation::linf;
  EXPECT_NEAR(trace_step(example, 0, example.norm)[0].deviation, 0.375, 1e-15);
  example.norm.deviation = Deviation::l1;
  example.norm.l1_correction = false;
  EXPECT_NEAR(trace_step(example, 0, example.norm)[0].deviation, 0.25, 1e-15);
  example.norm.eps = 0.25 * 0.25 * 3.0;  // √(s² + eps) = 2·s
  EXPECT_THAT(trace_step(example, 0, example.norm)[0].normalized, near({-0.25, 0.75, -0.75, 0.25}));
}

TEST(Trace, EqualValuesBecomeZero) {
  TraceExample example = worked_example();
  example.inputs[0] = {2.0, 2.0};
  EXPECT_THAT(trace_step(example, 0, example.norm)[0].normalized, near({0.0, 0.0}));
}

}  // namespace
}  // namespace syncnorm
