// Activations against PyTorch, addition, dropout's mask, noise, and the transpose of `flatten`.
#include <limits>
#include <set>

#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

constexpr Activation kActivations[] = {Activation::relu, Activation::sigmoid,   Activation::tanh,
                                       Activation::elu,  Activation::selu,      Activation::gelu,
                                       Activation::silu, Activation::hard_swish};

std::size_t to_count(int n) { return static_cast<std::size_t>(n); }

class PointwiseTest : public KernelTest {
 protected:
  std::vector<float> dropout(const Dropout& op, const std::vector<float>& x,
                             const std::vector<std::uint32_t>& ids, const StepState& state) {
    return of_samples(op, x, ids, state);
  }
  std::vector<float> of_samples(const Op& op, const std::vector<float>& x,
                                const std::vector<std::uint32_t>& ids, const StepState& state) {
    const Floats in = floats(x), out = floats(x.size());
    run(op, {in, Array<std::uint32_t>(*device_, ids), out}, state);
    return out.values();
  }
};

TEST_P(PointwiseTest, ActivationsMatchPyTorch) {
  const auto cases = read_goldens("activations");
  ASSERT_EQ(cases.size(), std::size(kActivations));
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const auto kind = static_cast<Activation>(g.integer("kind"));
    const Floats x = floats(g.tensor("x")), dy = floats(g.tensor("dy"));
    const Floats y = floats(x.size()), dx = floats(x.size());
    const int size = static_cast<int>(x.size());
    run(ActivationForward{1, size, kind}, {x, y});
    const bool from_x = slope_from_x(kind);
    run(ActivationBackward{1, size, kind}, {dy, from_x ? Argument(x) : Argument(nullptr),
                                            from_x ? Argument(nullptr) : Argument(y), dx});
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float e = g.tensor("y")[i], de = g.tensor("dx")[i];
      EXPECT_NEAR(y[i], e, 1e-6 * std::max(1.0f, std::abs(e))) << "x " << x[i];
      EXPECT_NEAR(dx[i], de, 1e-6 * std::max(1.0f, std::abs(de))) << "x " << x[i];
    }
  }
}

TEST_P(PointwiseTest, ActivationsOfCountsThatFillNoVector) {
  for (const int size : {1, 3, 7, 8, 9, 15, 17, 31, 33}) {
    const auto values = random_normal(2 * static_cast<std::size_t>(size), 1);
    const Floats x = floats(values), y = floats(x.size()), dx = floats(x.size());
    run(ActivationForward{2, size, Activation::relu}, {x, y});
    run(ActivationBackward{2, size, Activation::relu}, {x, nullptr, y, dx});
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(y[i], std::max(0.0f, values[i]));
      EXPECT_EQ(dx[i], values[i] > 0.0f ? values[i] : 0.0f);
    }
  }
}

TEST_P(PointwiseTest, NoActivationHidesANan) {
  std::vector<float> values(19, 1.0f);
  for (const std::size_t at : {0u, 5u, 15u, 18u}) {  // in a vector and in the remainder
    auto bad = values;
    bad[at] = std::numeric_limits<float>::quiet_NaN();
    for (const Activation kind : kActivations) {
      const Floats x = floats(bad), y = floats(x.size());
      run(ActivationForward{1, 19, kind}, {x, y});
      for (std::size_t i = 0; i < 19; ++i)
        EXPECT_EQ(std::isnan(y[i]), i == at) << op_text(ActivationForward{1, 19, kind});
    }
  }
}

TEST_P(PointwiseTest, ActivationsSaturateWithoutNan) {
  for (const Activation kind : kActivations) {
    const Floats x = floats({-1e30f, -200.0f, -0.0f, 200.0f, 1e30f});
    const Floats y = floats(5), dx = floats(5), dy = floats(std::vector<float>(5, 1.0f));
    run(ActivationForward{1, 5, kind}, {x, y});
    run(ActivationBackward{1, 5, kind}, {dy, x, y, dx});
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_TRUE(std::isfinite(y[i])) << op_text(ActivationForward{1, 5, kind}) << x[i];
      EXPECT_TRUE(std::isfinite(dx[i])) << op_text(ActivationForward{1, 5, kind}) << x[i];
    }
  }
}

TEST_P(PointwiseTest, ConvertRoundsOnceAndComesBack) {
  // Every upper half of a float with lower halves on, below and above the ties; nans among them.
  std::vector<float> values;
  for (std::uint32_t upper = 0; upper < 65536; upper += 7)
    for (const std::uint32_t lower : {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu})
      values.push_back(std::bit_cast<float>((upper << 16) | lower));
  values.resize(values.size() / 3 * 3);
  const int size = static_cast<int>(values.size() / 3);
  Array<BFloat16> narrow(*device_, std::vector<BFloat16>(values.size()));
  Floats back = floats(values.size());
  run(Convert{3, size, Storage::f32}, {floats(values), narrow});
  run(Convert{3, size, Storage::bf16}, {narrow, back});
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(narrow[i], to_bfloat16(values[i])) << values[i];
    ASSERT_EQ(std::bit_cast<std::uint32_t>(back[i]),
              std::bit_cast<std::uint32_t>(to_float(narrow[i])));
  }
}

TEST_P(PointwiseTest, Add) {
  for (const int size : {1, 5, 16, 37}) {
    const Floats a = floats(random_normal(static_cast<std::size_t>(3 * size), 2));
    const Floats b = floats(random_normal(a.size(), 3)), y = floats(a.size());
    run(Add{3, size}, {a, b, y});
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(y[i], a[i] + b[i]);
    run(Add{3, size}, {a, b, a});  // in place
    EXPECT_TRUE(same_bits(a.values(), y.values()));
  }
}

TEST_P(PointwiseTest, FlattenIsPyTorchsOrderAndBack) {
  const int samples = 2, pixels = 6, channels = 5;
  std::vector<float> values(60);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Floats x = floats(values), y = floats(60), back = floats(60);
  run(ToChannelsFirst{samples, pixels, channels, false}, {x, y});
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t p = 0; p < 6; ++p)
      for (std::size_t c = 0; c < 5; ++c) EXPECT_EQ(y[(n * 5 + c) * 6 + p], x[(n * 6 + p) * 5 + c]);
  run(ToChannelsFirst{samples, pixels, channels, true}, {y, back});
  EXPECT_EQ(back.values(), values);
}

TEST_P(PointwiseTest, DropoutDependsOnSeedStepLayerAndSampleAlone) {
  const std::vector<float> ones(4 * 50, 1.0f);
  const std::vector<std::uint32_t> ids = {3, 14, 15, 92653};
  const Dropout op{4, 50, 0.4, 2};
  StepState state;
  state.seed = 7;
  state.step = 11;
  const auto mask = dropout(op, ones, ids, state);
  EXPECT_EQ(mask, dropout(op, ones, ids, state));

  // A sample keeps its mask in another batch and at another place.
  const auto alone = dropout({1, 50, 0.4, 2}, std::vector<float>(50, 1.0f), {15}, state);
  EXPECT_EQ(alone, std::vector<float>(mask.begin() + 100, mask.begin() + 150));

  std::set<std::vector<float>> different = {mask};
  StepState other = state;
  other.seed = 8;
  different.insert(dropout(op, ones, ids, other));
  other = state;
  other.step = 12;
  different.insert(dropout(op, ones, ids, other));
  Dropout layer = op;
  layer.layer = 3;
  different.insert(dropout(layer, ones, ids, state));
  EXPECT_EQ(different.size(), 4u);
  const auto row = [&](std::size_t n) {
    return std::vector<float>(mask.begin() + static_cast<std::ptrdiff_t>(50 * n),
                              mask.begin() + static_cast<std::ptrdiff_t>(50 * n + 50));
  };
  EXPECT_NE(row(0), row(1));
  EXPECT_NE(row(1), row(2));

  // What else a step knows is no part of the key.
  other = state;
  other.lr = 0.3f;
  other.update_running = false;
  other.vote = 0.5;
  EXPECT_EQ(mask, dropout(op, ones, ids, other));
}

TEST_P(PointwiseTest, DropoutKeepsTheMean) {
  for (const double p : {0.0, 0.1, 0.5, 0.9}) {
    const int size = 100000;
    const auto y = dropout({1, size, p, 0}, std::vector<float>(size, 1.0f), {5}, {});
    double sum = 0.0;
    int zeros = 0;
    for (const float value : y) {
      sum += value;
      zeros += value == 0.0f;
      if (value != 0.0f) {
        EXPECT_FLOAT_EQ(value, static_cast<float>(1.0 / (1.0 - p)));
      }
    }
    // Five standard deviations of a binomial count.
    EXPECT_NEAR(zeros, p * size, 5.0 * std::sqrt(p * (1.0 - p) * size));
    EXPECT_NEAR(sum / size, 1.0, 5.0 * std::sqrt(p / (1.0 - p) / size) + 1e-6);
  }
}

TEST_P(PointwiseTest, DropoutsBackwardHasTheForwardMask) {
  const auto x = random_normal(3 * 40, 4), dy = random_normal(3 * 40, 5);
  const std::vector<std::uint32_t> ids = {9, 8, 7};
  const Dropout op{3, 40, 0.5, 1};
  const auto y = dropout(op, x, ids, {}), dx = dropout(op, dy, ids, {});
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(y[i] == 0.0f, dx[i] == 0.0f);
    if (dx[i] != 0.0f) {
      EXPECT_FLOAT_EQ(dx[i], 2.0f * dy[i]);
    }
  }
}

// Klambauer et al. 2017, section 2: dropped values become α' = −λα, and an affine map keeps mean
// and variance. The mask is that of plain dropout under the same key.
TEST_P(PointwiseTest, AlphaDropoutIsItsFormula) {
  const auto x = random_normal(2 * 60, 6), dy = random_normal(2 * 60, 7);
  const std::vector<std::uint32_t> ids = {4, 40};
  const double lambda = 1.0507009873554805, alpha = 1.6732632423543772;
  for (const double p : {0.1, 0.5, 0.8}) {
    const auto mask = dropout({2, 60, p, 3}, std::vector<float>(120, 1.0f), ids, {});
    const auto y = dropout({2, 60, p, 3, true}, x, ids, {});
    const auto dx = dropout({2, 60, p, 3, true, true}, dy, ids, {});
    const double limit = -lambda * alpha;
    const double a = std::pow((1.0 - p) * (1.0 + p * limit * limit), -0.5), b = -a * limit * p;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool kept = mask[i] != 0.0f;
      EXPECT_NEAR(y[i], a * (kept ? x[i] : limit) + b, 1e-6);
      EXPECT_NEAR(dx[i], kept ? a * dy[i] : 0.0, 1e-6);
    }
  }
}

TEST_P(PointwiseTest, AlphaDropoutKeepsMeanZeroAndVarianceOne) {
  const int size = 200000;
  const auto x = random_normal(to_count(size), 8);
  for (const double p : {0.05, 0.5, 0.9}) {
    const auto y = dropout({1, size, p, 0, true}, x, {5}, {});
    double mean = 0.0, square = 0.0;
    for (const float value : y) mean += static_cast<double>(value) / size;
    for (const float value : y) square += (value - mean) * (value - mean) / size;
    EXPECT_NEAR(mean, 0.0, 5.0 / std::sqrt(size));
    EXPECT_NEAR(square, 1.0, 0.02);
  }
}

// x = 0 shows the shift of a noise, and x = 1 shift and factor.
TEST_P(PointwiseTest, NoiseIsTheSameLineForAllPixelsOfASampleAndChannel) {
  const NormNoise op{3, 5, 7, 0.5, 1.25, 0.1, 0.1, 2};
  const std::vector<std::uint32_t> ids = {31, 4, 15};
  StepState state;
  state.seed = 9;
  state.step = 6;
  const std::size_t count = 3 * 5 * 7;
  const auto shift = of_samples(op, std::vector<float>(count, 0.0f), ids, state);
  const auto sum = of_samples(op, std::vector<float>(count, 1.0f), ids, state);
  const auto x = random_normal(count, 1);
  const auto y = of_samples(op, x, ids, state);
  NormNoise backward = op;
  backward.backward = true;
  const auto dx = of_samples(backward, x, ids, state);
  std::set<float> shifts;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t first_pixel = i / 35 * 35 + i % 7;
    EXPECT_EQ(shift[i], shift[first_pixel]);
    EXPECT_EQ(sum[i], sum[first_pixel]);
    EXPECT_NEAR(y[i], (sum[i] - shift[i]) * x[i] + shift[i], 1e-6);
    EXPECT_NEAR(dx[i], (sum[i] - shift[i]) * x[i], 1e-6);
    shifts.insert(shift[i]);
  }
  EXPECT_EQ(shifts.size(), 3u * 7u);

  // A sample's noise is its own: alone, and wherever it stands.
  NormNoise one = op;
  one.samples = 1;
  const auto alone = of_samples(one, std::vector<float>(35, 0.0f), {4}, state);
  EXPECT_EQ(alone, std::vector<float>(shift.begin() + 35, shift.begin() + 70));
  const auto differs = [&](const NormNoise& other, const StepState& then) {
    const auto found = of_samples(other, std::vector<float>(count, 0.0f), ids, then);
    for (std::size_t i = 0; i < count; ++i) EXPECT_NE(found[i], shift[i]);
  };
  StepState then = state;
  then.step = 7;
  differs(op, then);
  then = state;
  then.seed = 10;
  differs(op, then);
  NormNoise elsewhere = op;
  elsewhere.layer = 3;
  differs(elsewhere, state);
}

// Santurkar et al. 2018, appendix A: what is drawn per channel and step, and per sample around it.
TEST_P(PointwiseTest, NoiseHasItsDistributions) {
  const int samples = 200, channels = 300;
  const NormNoise op{samples, 1, channels, 0.5, 1.25, 0.1, 0.1, 1};
  const auto count = static_cast<std::size_t>(samples) * channels;
  std::vector<std::uint32_t> ids(static_cast<std::size_t>(samples));
  for (std::size_t n = 0; n < ids.size(); ++n) ids[n] = static_cast<std::uint32_t>(7 * n);
  const auto shift = of_samples(op, std::vector<float>(count, 0.0f), ids, {});
  const auto sum = of_samples(op, std::vector<float>(count, 1.0f), ids, {});
  double means = 0.0, means2 = 0.0, factors = 0.0, factors2 = 0.0, spread = 0.0;
  for (std::size_t c = 0; c < to_count(channels); ++c) {
    double mean = 0.0, factor = 0.0, factor2 = 0.0;
    float low = INFINITY, high = -INFINITY;
    for (std::size_t i = c; i < count; i += to_count(channels)) {
      const double s = static_cast<double>(sum[i]) - shift[i];
      mean += shift[i] / samples;
      factor += s / samples;
      factor2 += s * s / samples;
      low = std::min(low, shift[i]);
      high = std::max(high, shift[i]);
    }
    EXPECT_LE(high - low, 0.2f + 1e-6f);  // U(μ ± 0.1)
    EXPECT_GE(high - low, 0.15f);
    EXPECT_LE(std::abs(mean), 0.5 + 0.03);
    EXPECT_GE(factor, 1.0 - 0.04);  // U(1, 1.25), and five deviations of a mean of 200
    EXPECT_LE(factor, 1.25 + 0.04);
    means += mean / channels;
    means2 += mean * mean / channels;
    factors += factor / channels;
    factors2 += factor * factor / channels;
    spread += (factor2 - factor * factor) / channels;
  }
  EXPECT_NEAR(means, 0.0, 5.0 * 0.289 / std::sqrt(channels));  // of U(±0.5)
  EXPECT_NEAR(means2, 1.0 / 12.0, 0.03);
  EXPECT_NEAR(factors, 1.125, 5.0 * 0.0722 / std::sqrt(channels));
  EXPECT_NEAR(factors2 - factors * factors, 0.25 * 0.25 / 12.0, 0.002);
  EXPECT_NEAR(spread, 0.01, 0.0005);  // N(σ, 0.1²)
}

TEST_P(PointwiseTest, NoiseOfNoSizeChangesNothingAndEvaluationsSeeItsMean) {
  const auto x = random_normal(2 * 3 * 4, 3);
  EXPECT_EQ(of_samples(NormNoise{2, 3, 4, 0.0, 1.0, 0.0, 0.0, 1}, x, {1, 2}, {}), x);
  NormNoise expected{2, 3, 4};
  expected.expected = true;
  const auto y = of_samples(expected, x, {1, 2}, {});
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], 1.125f * x[i]);
}

SYNCNORM_FOR_ALL_BACK_ENDS(PointwiseTest);

}  // namespace
}  // namespace syncnorm::test
