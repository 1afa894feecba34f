// Optimizer updates against PyTorch's over several steps, and the sum of squares behind clipping.
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 1e-6;  // of the largest magnitude, after four updates

class UpdateTest : public KernelTest {};

TEST_P(UpdateTest, MatchesPyTorch) {
  const auto cases = read_goldens("updates");
  ASSERT_GE(cases.size(), 12u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const auto count = static_cast<std::size_t>(g.integer("count"));
    Op op;
    const bool sgd = g.name.starts_with("sgd");
    if (sgd)
      op = SgdUpdate{1, count, g.number("momentum"), g.number("decay"), g.integer("nesterov") != 0};
    else
      op = AdamUpdate{1,
                      count,
                      g.number("beta1"),
                      g.number("beta2"),
                      g.number("eps"),
                      g.number("decay"),
                      g.name.starts_with("adamw")};
    const Floats parameter = floats(g.tensor("parameter"));
    const Floats first = floats(std::vector<float>(count)), second = floats(first.values());
    const auto slice = [&](const char* name, int step) {
      const auto begin = g.tensor(name).begin() + static_cast<std::ptrdiff_t>(count) * step;
      return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count));
    };
    for (int step = 0; step < g.integer("steps"); ++step) {
      StepState state;
      state.step = static_cast<std::uint64_t>(step);
      state.lr = static_cast<float>(g.number("lr") / (step + 1));
      const Floats factor = floats({static_cast<float>(g.number("scale"))});
      const Floats gradient = floats(slice("gradients", step));
      if (sgd)
        run(op, {gradient, factor, parameter, first}, state);
      else
        run(op, {gradient, factor, parameter, first, second}, state);
      EXPECT_TRUE(near_relative(parameter.values(), slice("results", step), kTolerance)) << step;
    }
    if (g.has("velocity")) {
      EXPECT_TRUE(near_relative(first.values(), g.tensor("velocity"), kTolerance));
    }
    if (!sgd) {
      EXPECT_TRUE(near_relative(first.values(), g.tensor("first"), kTolerance));
      EXPECT_TRUE(near_relative(second.values(), g.tensor("second"), kTolerance));
    }
  }
}

TEST_P(UpdateTest, ExponentialAverageFollowsItsValue) {
  for (const std::size_t count : {1u, 3u, 8u, 31u, 1003u})
    for (const int every : {1, 3}) {
      SCOPED_TRACE(std::to_string(count) + " values, every " + std::to_string(every));
      const ExponentialAverage op{1, count, 0.9, every};
      std::vector<double> expected(count, 2.0);
      const Floats average = floats(std::vector<float>(count, 2.0f)), factor = floats({0.3f});
      for (unsigned step = 0; step < 7; ++step) {
        StepState state;
        state.step = step;
        const Floats value = floats(random_normal(count, step));
        if (step % 2 == 0)
          run(op, {value, nullptr, average}, state);
        else
          run(op, {value, factor, average}, state);
        if (every == 1 || step == 2 || step == 5)
          for (std::size_t i = 0; i < count; ++i)
            expected[i] = 0.9 * expected[i] + 0.1 * static_cast<double>(value[i]);
        EXPECT_TRUE(near_relative(average.values(), expected, kTolerance)) << "step " << step;
      }
      const std::vector<float> before = average.values();
      run(op, {floats(std::vector<float>(count, 9.0f)), floats({NAN}), average});  // no update
      EXPECT_EQ(average.values(), before);
    }
}

// Buckets are cut anywhere: a value must not notice whether it is in a vector or in the remainder.
TEST_P(UpdateTest, CuttingTheRangeChangesNoBit) {
  const auto values = random_normal(41, 1), gradients = random_normal(41, 2);
  StepState state;
  state.lr = 0.1f;
  const auto update = [&](const Op& op, std::size_t begin, std::size_t end) {
    const auto part = [&](const std::vector<float>& v) {
      return floats(std::vector<float>(v.begin() + static_cast<std::ptrdiff_t>(begin),
                                       v.begin() + static_cast<std::ptrdiff_t>(end)));
    };
    const Floats p = part(values), g = part(gradients);
    const Floats m = floats(std::vector<float>(p.size())), v = floats(m.values());
    if (std::holds_alternative<SgdUpdate>(op))
      run(op, {g, floats({0.7f}), p, m}, state);
    else
      run(op, {g, floats({0.7f}), p, m, v}, state);
    return p.values();
  };
  const auto both = [&](std::size_t begin, std::size_t end) {
    auto result = update(SgdUpdate{1, end - begin, 0.9, 1e-3, true}, begin, end);
    const auto adam = update(AdamUpdate{1, end - begin, 0.9, 0.999, 1e-8, 1e-2, true}, begin, end);
    result.insert(result.end(), adam.begin(), adam.end());
    return result;
  };
  const auto whole = both(0, 41);
  for (const std::size_t cut : {1u, 3u, 8u, 17u, 40u}) {
    const auto low = both(0, cut), high = both(cut, 41);
    for (std::size_t i = 0; i < 41; ++i)
      for (const std::size_t half : {0u, 1u}) {
        const float part = i < cut ? low[i + half * cut] : high[i - cut + half * (41 - cut)];
        EXPECT_EQ(part, whole[i + half * 41]) << "value " << i << " cut at " << cut;
      }
  }
}

TEST_P(UpdateTest, SumOfSquares) {
  for (const std::size_t count : {1u, 3u, 8u, 16u, 31u, 1000u, 100003u}) {
    const auto values = random_normal(count, 3, 0.5f);
    double expected = 0.0;
    for (const float value : values) expected += static_cast<double>(value) * value;
    const Doubles sum = doubles(1);
    run(SumOfSquares{1, count}, {floats(values), sum});
    EXPECT_NEAR(sum[0], expected, 1e-13 * expected * std::sqrt(static_cast<double>(count)));
  }
  const Doubles sum = doubles(1);
  run(SumOfSquares{1, 2}, {floats({1e30f, 1e30f}), sum});  // beyond f32
  EXPECT_NEAR(sum[0], 2e60, 1e54);
  run(SumOfSquares{1, 9}, {floats({0, 0, 0, 0, NAN, 0, 0, 0, 0}), sum});
  EXPECT_TRUE(std::isnan(sum[0]));
}

// Brock et al. 2021: λ = 0.5, and weights whose norm is below 1e-3 count as 1e-3.
TEST_P(UpdateTest, AdaptiveClippingIsPerUnit) {
  constexpr std::size_t kInputs = 41;
  std::vector<float> parameter = random_normal(4 * kInputs, 1);
  std::vector<float> gradient = random_normal(4 * kInputs, 2);
  const auto row = [&](std::vector<float>& values, std::size_t r, float factor) {
    for (std::size_t i = 0; i < kInputs; ++i) values[r * kInputs + i] *= factor;
  };
  row(gradient, 0, 0.01f);  // short: stays
  row(gradient, 2, 100.0f);
  row(parameter, 3, 0.0f);
  gradient[kInputs + 3] = std::nanf("");  // stays, for the update to see
  const Floats clipped = floats(gradient);
  run(AdaptiveClip{1, 4, static_cast<int>(kInputs), 0.5}, {floats(parameter), clipped});
  const auto norm = [](const std::vector<float>& values, std::size_t r) {
    double sum = 0.0;
    for (std::size_t i = r * kInputs; i < (r + 1) * kInputs; ++i)
      sum += static_cast<double>(values[i]) * values[i];
    return std::sqrt(sum);
  };
  for (std::size_t i = 0; i < kInputs; ++i) EXPECT_EQ(clipped[i], gradient[i]);
  EXPECT_TRUE(std::isnan(clipped[kInputs + 3]));
  for (const std::size_t r : {2u, 3u}) {
    const double largest = 0.5 * std::max(norm(parameter, r), 1e-3);
    EXPECT_NEAR(norm(clipped.values(), r), largest, 1e-6 * largest);
    const double factor = largest / norm(gradient, r);
    EXPECT_NEAR(clipped[r * kInputs + 7], factor * gradient[r * kInputs + 7],
                1e-6 * std::abs(factor * gradient[r * kInputs + 7]));
  }
}

TEST_P(UpdateTest, NothingIsUpdatedWhereTheFactorIsNan) {
  const auto values = random_normal(100, 1);
  StepState state;
  state.lr = 0.1f;
  for (const Op& op : {Op(SgdUpdate{1, 100}), Op(AdamUpdate{1, 100})}) {
    const Floats p = floats(values), m = floats(values), v = floats(values);
    if (std::holds_alternative<SgdUpdate>(op))
      run(op, {floats(values), floats({NAN}), p, m}, state);
    else
      run(op, {floats(values), floats({NAN}), p, m, v}, state);
    EXPECT_EQ(p.values(), values);
    EXPECT_EQ(m.values(), values);
    EXPECT_EQ(v.values(), values);
  }
}

TEST_P(UpdateTest, TheFactorClipsAndStaysNan) {
  const auto factor = [&](double clip, double squares, double loss, float before) {
    const Floats f = floats({before});
    const Doubles sum = doubles(1), value = doubles(1);
    sum[0] = squares;
    value[0] = loss;
    run(GradientFactor{1, clip}, {sum, value, f});
    return f[0];
  };
  EXPECT_EQ(factor(0.0, 25.0, 1.0, 0.3f), 1.0f);
  EXPECT_EQ(factor(5.0, 25.0, 1.0, 1.0f), 1.0f);
  EXPECT_EQ(factor(2.0, 25.0, 1.0, 1.0f), static_cast<float>(2.0 / (5.0 + 1e-6)));
  EXPECT_TRUE(std::isnan(factor(2.0, 25.0, INFINITY, 1.0f)));
  EXPECT_TRUE(std::isnan(factor(2.0, INFINITY, 1.0, 1.0f)));
  EXPECT_TRUE(std::isnan(factor(0.0, NAN, 1.0, 1.0f)));
  EXPECT_TRUE(std::isnan(factor(0.0, 25.0, 1.0, NAN)));  // until somebody sets it
  const Floats alone = floats({0.5f});
  const Doubles sum = doubles(1);
  sum[0] = 4.0;
  run(GradientFactor{1, 1.0}, {sum, nullptr, alone});
  EXPECT_EQ(alone[0], static_cast<float>(1.0 / (2.0 + 1e-6)));
}

SYNCNORM_FOR_ALL_BACK_ENDS(UpdateTest);

}  // namespace
}  // namespace syncnorm::test
