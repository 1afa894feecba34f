// Activations against PyTorch, addition, dropout's mask, and the transpose of `flatten`.
#include <limits>
#include <set>

#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

constexpr Activation kActivations[] = {Activation::relu, Activation::sigmoid, Activation::tanh,
                                       Activation::elu,  Activation::selu,    Activation::gelu};

std::size_t to_count(int n) { return static_cast<std::size_t>(n); }

class PointwiseTest : public KernelTest {
 protected:
  std::vector<float> dropout(const Dropout& op, const std::vector<float>& x,
                             const std::vector<std::uint32_t>& ids, const StepState& state) {
    const Floats in = floats(x), out = floats(x.size());
    run(op, {in, Array<std::uint32_t>(*device_, ids), out}, state);
    return out.values();
  }
};

TEST_P(PointwiseTest, ActivationsMatchPyTorch) {
  const auto cases = read_goldens("activations");
  ASSERT_EQ(cases.size(), 6u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const auto kind = static_cast<Activation>(g.integer("kind"));
    const Floats x = floats(g.tensor("x")), dy = floats(g.tensor("dy"));
    const Floats y = floats(x.size()), dx = floats(x.size());
    const int size = static_cast<int>(x.size());
    run(ActivationForward{1, size, kind}, {x, y});
    const bool from_x = kind == Activation::gelu;
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

SYNCNORM_FOR_ALL_BACK_ENDS(PointwiseTest);

}  // namespace
}  // namespace syncnorm::test
