// Normalization on awkward shapes against an f64 oracle, the fused paths against each other, and
// the statistics of several replicas combined into those of one batch.
#include "tests/kernels/cpu/norm_test.h"

#include "kernels/norm_math.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 1e-6;     // of the largest magnitude
constexpr double kSumTolerance = 5e-6;  // dγ and dβ: few terms, which may nearly cancel
constexpr int kOddChannels[] = {1, 3, 5, 7, 9, 17, 31, 33, 64, 70};

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

NormInputs random_inputs(const NormShape& s, unsigned seed, bool affine = true) {
  NormInputs in;
  in.x = random_normal(s.size(), seed, 0.7f, 1.3f);
  in.dy = random_normal(s.size(), seed + 1);
  if (!affine) return in;
  in.gamma = random_normal(to_size(s.channels), seed + 2, 1.0f, 0.4f);
  in.beta = random_normal(to_size(s.channels), seed + 3);
  return in;
}

class NormShapesTest : public NormTest {
 protected:
  /// One pass forward and backward, without ReLU, against the oracle.
  void compare(const NormShape& shape, const NormInputs& in) {
    const NormOutputs out = normalize(shape, in, {false, false, false});
    const NormResult expected = norm_reference(shape, in.x, in.gamma, in.beta, {}, false, in.dy);
    EXPECT_TRUE(near_relative(out.y, expected.y, kTolerance, 1e-2));
    EXPECT_TRUE(near_relative(out.dx, expected.dx, kTolerance, gradient_scale(out.inv_std, in.dy)));
    EXPECT_TRUE(near_relative(out.dgamma, expected.dgamma, kSumTolerance, 1e-1));
    EXPECT_TRUE(near_relative(out.dbeta, expected.dbeta, kSumTolerance, 1e-1));
  }
};

TEST_P(NormShapesTest, ChannelsThatFillNoVector) {
  unsigned seed = 1;
  for (const int channels : kOddChannels)
    for (const int rows : {2, 3, 16, 97}) {
      SCOPED_TRACE("rows " + std::to_string(rows) + ", channels " + std::to_string(channels));
      const NormShape batch{rows, 1, channels, 0, 1e-5};
      compare(batch, random_inputs(batch, ++seed));
      const NormShape layer{2, rows, channels, 1, 1e-5},
          instance{2, rows, channels, channels, 1e-5};
      compare(layer, random_inputs(layer, ++seed));
      compare(instance, random_inputs(instance, ++seed));
      const NormShape rms{2, rows, channels, 1, 1e-5, false};
      compare(rms, random_inputs(rms, ++seed));
    }
}

// The loops work in blocks of 16 to 512 rows, by the number of channels.
TEST_P(NormShapesTest, RowsAcrossBlockBoundaries) {
  unsigned seed = 1000;
  for (const int channels : {1, 7, 33, 70, 300})
    for (const int rows : {15, 17, 58, 59, 124, 511, 512, 513, 1024, 2049}) {
      SCOPED_TRACE("rows " + std::to_string(rows) + ", channels " + std::to_string(channels));
      const NormShape batch{1, rows, channels, 0, 1e-5}, layer{1, rows, channels, 1, 1e-5};
      compare(batch, random_inputs(batch, ++seed));
      compare(layer, random_inputs(layer, ++seed));
    }
}

// Zhang & Sennrich 2019: y = x/√(mean(x²) + eps); the mean is neither read nor subtracted.
TEST_P(NormShapesTest, RmsNormDividesByTheRootMeanSquare) {
  const NormShape shape{1, 2, 2, 1, 0.5, false};
  NormInputs in;
  in.x = {1.0f, 2.0f, 3.0f, 1.0f};  // mean square 3.75
  in.dy = {1.0f, 1.0f, 1.0f, 1.0f};
  const NormOutputs out = group_norm(shape, in, {});
  const double scale = 1.0 / std::sqrt(4.25);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(out.y[i], static_cast<float>(in.x[i] * scale));
    EXPECT_NEAR(out.dx[i], scale - in.x[i] * scale * scale * scale * 7.0 / 4.0, 1e-6);
  }
  EXPECT_EQ(out.mean, std::vector<float>(4, 0.0f));  // rounded, and the rest
}

TEST_P(NormShapesTest, OneRowIsItsOwnMean) {
  for (const int channels : kOddChannels) {
    const NormShape shape{1, 1, channels, 0, 1e-5};
    NormInputs in = random_inputs(shape, 7);
    const NormOutputs out = batch_norm(shape, in, {});
    EXPECT_EQ(out.mean, in.x);
    EXPECT_EQ(out.y, in.beta);
    EXPECT_TRUE(near_relative(out.dx, std::vector<float>(in.x.size()), 1.0, 1e-4));
  }
}

TEST_P(NormShapesTest, AbsentGammaAndBetaAreOneAndZero) {
  for (const int groups : {0, 1, 3}) {
    const NormShape shape{3, 5, 9, groups, 1e-5};
    const NormInputs bare = random_inputs(shape, 20, false);
    NormInputs neutral = bare;
    neutral.gamma.assign(9, 1.0f);
    neutral.beta.assign(9, 0.0f);
    for (const bool relu : {false, true}) {
      const NormOutputs a = normalize(shape, bare, {relu, false, false});
      const NormOutputs b = normalize(shape, neutral, {relu, false, false});
      EXPECT_TRUE(same_bits(a.y, b.y));
      EXPECT_TRUE(same_bits(a.dx, b.dx));
    }
    NormInputs only_gamma = bare, only_beta = bare;
    only_gamma.gamma = random_normal(9, 21);
    only_beta.beta = random_normal(9, 22);
    for (const NormInputs& in : {only_gamma, only_beta}) {
      const NormOutputs out = normalize(shape, in, {});
      const NormResult e = norm_reference(shape, in.x, in.gamma, in.beta, {}, false, in.dy);
      EXPECT_TRUE(near_relative(out.y, e.y, kTolerance));
      EXPECT_TRUE(near_relative(out.dx, e.dx, kTolerance));
    }
  }
}

TEST_P(NormShapesTest, TheSecondGradientIsAdded) {
  for (const int groups : {0, 1, 7}) {
    const NormShape shape{3, 4, 7, groups, 1e-5};
    NormInputs split = random_inputs(shape, 30);
    NormInputs whole = split;
    split.dy2 = random_normal(shape.size(), 34);
    for (std::size_t i = 0; i < whole.dy.size(); ++i) whole.dy[i] += split.dy2[i];
    for (const NormPath path :
         {NormPath{false, false, true}, NormPath{true, false, true}, NormPath{true, true, true}}) {
      const NormOutputs a = normalize(shape, split, path), b = normalize(shape, whole, path);
      EXPECT_TRUE(same_bits(a.g, b.g));
      EXPECT_TRUE(same_bits(a.dx, b.dx));
      EXPECT_TRUE(same_bits(a.dgamma, b.dgamma));
      EXPECT_TRUE(same_bits(a.dbeta, b.dbeta));
    }
  }
}

// β is chosen so that γ·x̂ + β rounds to zero in one multiplication and addition but not in a fused
// one, for one row of each channel: a mask computed in another way than the forward pass would
// differ.
TEST_P(NormShapesTest, TheRecomputedMaskIsTheForwardPasss) {
  for (const int channels : kOddChannels)
    for (const int groups : {0, channels}) {
      const NormShape shape{1, 37, channels, groups, 1e-5};
      NormInputs in = random_inputs(shape, 40 + static_cast<unsigned>(channels));
      in.gamma = random_normal(to_size(channels), 41, 1.0f, 0.3f);
      const NormOutputs probe = normalize(shape, in, {});
      for (std::size_t c = 0; c < to_size(channels); ++c) {
        const std::size_t row = c % 37;
        const float centred = in.x[row * to_size(channels) + c] - probe.mean[c];
        const float scale = in.gamma[c] * probe.inv_std[c];
        in.beta[c] = -(centred * scale);
      }
      const NormOutputs from_x = normalize(shape, in, {true, false, true});
      const NormOutputs from_y = normalize(shape, in, {true, true, true});
      const NormOutputs unkept = normalize(shape, in, {true, false, false});
      for (std::size_t i = 0; i < in.x.size(); ++i)
        EXPECT_EQ(from_x.g[i], from_x.y[i] > 0.0f ? in.dy[i] : 0.0f) << i;
      EXPECT_TRUE(same_bits(from_x.g, from_y.g));
      EXPECT_TRUE(same_bits(from_x.dx, from_y.dx));
      EXPECT_TRUE(same_bits(from_x.dx, unkept.dx));
      EXPECT_TRUE(same_bits(from_x.dgamma, unkept.dgamma));
    }
}

// 8 replicas of uneven size, one of them empty: their sums, added, are those of the whole batch.
TEST_P(NormShapesTest, EightReplicasMakeOneBatch) {
  const int pixels = 6;
  for (const int channels : kOddChannels) {
    SCOPED_TRACE(channels);
    const int sizes[8] = {2, 2, 3, 1, 2, 0, 5, 1};
    const NormShape whole{16, pixels, channels, 0, 1e-5};
    NormInputs in = random_inputs(whole, 50);
    in.running_mean.assign(to_size(channels), 0.5f);
    in.running_var.assign(to_size(channels), 2.0f);
    const NormOutputs once = batch_norm(whole, in, {true, false, false});

    const std::size_t width = 2 * to_size(channels);
    std::vector<double> sums(width + 1), gradient_sums(width);
    const Floats gamma = floats(in.gamma), beta = floats(in.beta);
    const auto slice = [&](const std::vector<float>& v, int first, int samples) {
      const auto row = static_cast<std::ptrdiff_t>(pixels * channels);
      return floats(
          std::vector<float>(v.begin() + first * row, v.begin() + (first + samples) * row));
    };
    for (int r = 0, first = 0; r < 8; first += sizes[r++]) {
      const Floats x = slice(in.x, first, sizes[r]);
      const Doubles part = doubles(width + 1);
      run(with_samples(BatchMoments{2, pixels, channels}, sizes[r]), {x, part});
      EXPECT_EQ(part[0], sizes[r] * pixels);
      for (std::size_t i = 0; i <= width; ++i) sums[i] += part[i];
    }
    EXPECT_EQ(sums[0], 96.0);
    EXPECT_TRUE(near_relative(sums, once.sums, 1e-6));
    const Doubles group_sums(*device_, sums);
    const Floats mean = floats(2 * to_size(channels)), inv_std = floats(to_size(channels));
    const Floats running_mean = floats(in.running_mean), running_var = floats(in.running_var);
    run(BatchFinalize{2, channels, 1e-5, 0.1},
        {group_sums, mean, inv_std, running_mean, running_var, nullptr});
    std::vector<float> rounded_mean = mean.values();
    rounded_mean.resize(to_size(channels));
    EXPECT_TRUE(near_relative(rounded_mean, once.mean, 1e-6));
    EXPECT_TRUE(near_relative(inv_std.values(), once.inv_std, 1e-6));
    EXPECT_TRUE(near_relative(running_mean.values(), once.running_mean, 1e-6));
    EXPECT_TRUE(near_relative(running_var.values(), once.running_var, 1e-6));

    for (int r = 0, first = 0; r < 8; first += sizes[r++]) {
      const Floats x = slice(in.x, first, sizes[r]), dy = slice(in.dy, first, sizes[r]);
      const Doubles part = doubles(width);
      run(BatchGradientSums{sizes[r], pixels, channels, true},
          {dy, nullptr, x, mean, inv_std, gamma, beta, nullptr, nullptr, part, nullptr, nullptr,
           nullptr});
      for (std::size_t i = 0; i < width; ++i) gradient_sums[i] += part[i];
    }
    EXPECT_TRUE(near_relative(gradient_sums, once.gradient_sums, 1e-5, 1.0));
    const Doubles group_gradient(*device_, gradient_sums);
    std::vector<float> dx;
    for (int r = 0, first = 0; r < 8; first += sizes[r++]) {
      const Floats x = slice(in.x, first, sizes[r]), dy = slice(in.dy, first, sizes[r]);
      const Floats part = floats(x.size());
      run(BatchInputGradient{sizes[r], pixels, channels, true},
          {dy, x, mean, inv_std, gamma, beta, group_gradient, group_sums, nullptr, nullptr, nullptr,
           part});
      const auto values = part.values();
      dx.insert(dx.end(), values.begin(), values.end());
    }
    EXPECT_TRUE(near_relative(dx, once.dx, kTolerance));
  }
}

TEST_P(NormShapesTest, RunningStatisticsRestWhenToldTo) {
  const Doubles sums(*device_, {4.0, 8.0, 20.0});  // four values, mean 2, variance 1
  const Floats mean = floats(2), inv_std = floats(1);
  const Floats running_mean = floats({0.0f}), running_var = floats({1.0f});
  StepState still;
  still.update_running = false;
  run(BatchFinalize{4, 1, 0.0, 0.5}, {sums, mean, inv_std, running_mean, running_var, nullptr},
      still);
  EXPECT_EQ(mean[0], 2.0f);
  EXPECT_EQ(inv_std[0], 1.0f);
  EXPECT_EQ(running_mean[0], 0.0f);
  EXPECT_EQ(running_var[0], 1.0f);
  run(BatchFinalize{4, 1, 0.0, 0.5}, {sums, mean, inv_std, running_mean, running_var, nullptr});
  EXPECT_EQ(running_mean[0], 1.0f);
  EXPECT_EQ(running_var[0], static_cast<float>(0.5 + 0.5 * 4.0 / 3.0));  // unbiased
}

TEST_P(NormShapesTest, AGroupWithoutOrWithOneValueLeavesRunningStatistics) {
  for (const double count : {0.0, 1.0}) {
    const Doubles sums(*device_, {count, 3.0 * count, 9.0 * count});
    const Floats mean = floats({5.0f, 0.0f}), inv_std = floats({6.0f});
    const Floats running_mean = floats({7.0f}), running_var = floats({8.0f});
    run(BatchFinalize{1, 1, 1e-5, 0.1}, {sums, mean, inv_std, running_mean, running_var, nullptr});
    EXPECT_EQ(running_mean[0], 7.0f);
    EXPECT_EQ(running_var[0], 8.0f);
    EXPECT_EQ(mean[0], count == 0.0 ? 5.0f : 3.0f);
  }
}

// The sums of a sample do not depend on which samples it is batched with.
TEST_P(NormShapesTest, SamplesOfAGroupNormAreIndependent) {
  const NormShape both{2, 9, 33, 11, 1e-5}, one{1, 9, 33, 11, 1e-5};
  const NormInputs in = random_inputs(both, 60);
  const NormOutputs together = group_norm(both, in, {true, false, false});
  const auto half = static_cast<std::ptrdiff_t>(one.size());
  for (std::ptrdiff_t n = 0; n < 2; ++n) {
    NormInputs single = in;
    single.x.assign(in.x.begin() + n * half, in.x.begin() + (n + 1) * half);
    single.dy.assign(in.dy.begin() + n * half, in.dy.begin() + (n + 1) * half);
    const NormOutputs alone = group_norm(one, single, {true, false, false});
    EXPECT_TRUE(same_bits(alone.y, std::vector<float>(together.y.begin() + n * half,
                                                      together.y.begin() + (n + 1) * half)));
    EXPECT_TRUE(same_bits(alone.dx, std::vector<float>(together.dx.begin() + n * half,
                                                       together.dx.begin() + (n + 1) * half)));
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(NormShapesTest);

}  // namespace
}  // namespace syncnorm::test
