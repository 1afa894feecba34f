// The accuracy of batch statistics and their gradients under attack, against f64: means far from
// zero, tiny deviations, outliers, constants, denormals, non-finite values, huge counts.
//
// The textbook formula E[x²] − E[x]² is kept here as a control: the tests would be worth nothing if
// it passed them.
#include <functional>
#include <limits>

#include "kernels/norm_math.h"
#include "tests/kernels/cpu/norm_test.h"

namespace syncnorm::test {
namespace {

constexpr int kChannels = 512, kReplicas = 8, kValues = 98;  // 2 images of 7x7 per replica

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

/// What the naive formula gives for each channel, in f32 as implementations have it.
std::vector<double> naive_variance(const std::vector<float>& x, std::size_t channels) {
  std::vector<float> sum(channels), square(channels);
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum[i % channels] += x[i];
    square[i % channels] += x[i] * x[i];
  }
  const float n = static_cast<float>(x.size() / channels);
  std::vector<double> variance(channels);
  for (std::size_t c = 0; c < channels; ++c)
    variance[c] = static_cast<double>(square[c] / n - (sum[c] / n) * (sum[c] / n));
  return variance;
}

double largest_relative_error(const std::vector<double>& actual,
                              const std::vector<double>& expected) {
  double error = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    error = std::max(error, std::abs(actual[i] - expected[i]) / expected[i]);
  return error;
}

class NormNumericsTest : public NormTest {
 protected:
  /// The variance of each channel from the f64 sums of all replicas, as BatchFinalize forms it.
  std::vector<double> reduced_variance(const std::vector<float>& x, int channels, int replicas) {
    const std::size_t part = x.size() / to_size(replicas), width = 2 * to_size(channels) + 1;
    std::vector<double> total(width);
    for (std::size_t r = 0; r < to_size(replicas); ++r) {
      const auto begin = x.begin() + static_cast<std::ptrdiff_t>(r * part);
      const Floats local =
          floats(std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(part)));
      const Doubles sums = doubles(width);
      run(BatchMoments{1, static_cast<int>(part / to_size(channels)), channels}, {local, sums});
      for (std::size_t i = 0; i < width; ++i) total[i] += sums[i];
    }
    std::vector<double> variance;
    for (std::size_t c = 0; c < to_size(channels); ++c) {
      const auto m = from_sums(total[0], total[1 + c], total[1 + to_size(channels) + c]);
      EXPECT_GE(m.variance, 0.0);
      variance.push_back(m.variance);
    }
    return variance;
  }

  NormShape whole_batch() const { return {kReplicas, kValues, kChannels, 0, 1e-5}; }
};

struct MeanOverDeviation {
  double ratio, bound;
  bool naive_fails;
};

TEST_P(NormNumericsTest, VarianceFarFromZero) {
  for (const MeanOverDeviation& row : {MeanOverDeviation{0.0, 1e-6, false},
                                       {1e2, 1e-5, true},
                                       {1e3, 1e-4, true},
                                       {1e4, 1e-3, true}}) {
    const auto x = random_normal(whole_batch().size(), 1, static_cast<float>(row.ratio));
    const auto expected = norm_reference(whole_batch(), x, {}, {}, {}, false, x).variance;
    const double error =
        largest_relative_error(reduced_variance(x, kChannels, kReplicas), expected);
    RecordProperty("error_at_" + std::to_string(static_cast<int>(row.ratio)),
                   std::to_string(error));
    EXPECT_LE(error, row.bound) << "mean/std " << row.ratio;
    const double naive = largest_relative_error(naive_variance(x, kChannels), expected);
    if (row.naive_fails) {
      EXPECT_GT(naive, row.bound) << "mean/std " << row.ratio;
    }
  }
}

// Also far below what the table asks for: the statistics lose nothing to the mean.
TEST_P(NormNumericsTest, VarianceIsExactToRoundingEvenAtTenThousandDeviations) {
  const auto x = random_normal(whole_batch().size(), 2, 1e4f);
  const auto expected = norm_reference(whole_batch(), x, {}, {}, {}, false, x).variance;
  EXPECT_LE(largest_relative_error(reduced_variance(x, kChannels, kReplicas), expected), 1e-6);
}

TEST_P(NormNumericsTest, TinyDeviations) {
  for (const float mean : {0.0f, 1e-2f}) {
    const auto x = random_normal(whole_batch().size(), 3, mean, 1e-4f);
    const auto expected = norm_reference(whole_batch(), x, {}, {}, {}, false, x);
    EXPECT_LE(largest_relative_error(reduced_variance(x, kChannels, kReplicas), expected.variance),
              1e-6);
    NormInputs in;
    in.x = in.dy = x;
    const NormOutputs out = batch_norm(whole_batch(), in, {});
    for (std::size_t c = 0; c < to_size(kChannels); ++c)
      EXPECT_NEAR(out.inv_std[c] * std::sqrt(expected.variance[c] + 1e-5), 1.0, 1e-6);
  }
}

TEST_P(NormNumericsTest, Outliers) {
  auto x = random_normal(whole_batch().size(), 4);
  for (std::size_t c = 0; c < to_size(kChannels); ++c)
    x[(c * 37 % (kReplicas * kValues)) * kChannels + c] = c % 2 == 0 ? 1e6f : -1e6f;
  const auto expected = norm_reference(whole_batch(), x, {}, {}, {}, false, x).variance;
  EXPECT_LE(largest_relative_error(reduced_variance(x, kChannels, kReplicas), expected), 1e-6);
}

TEST_P(NormNumericsTest, ConstantsHaveNoVariance) {
  for (const float value : {0.0f, 1.0f, 0.1f, -3.3f, 1e4f, 12345.678f, 1e-20f, 1e15f}) {
    for (const int rows : {1, 7, 98, 1000}) {
      std::vector<float> x(to_size(8 * rows * 5), value);
      for (const double v : reduced_variance(x, 5, 8))
        EXPECT_LE(v, 1e-14 * static_cast<double>(value) * static_cast<double>(value))
            << value << " rows " << rows;
    }
  }
  bool naive_is_off = false;
  for (const float value : {0.1f, -3.3f, 12345.678f}) {
    const double v = naive_variance(std::vector<float>(1000, value), 1)[0];
    naive_is_off |= std::abs(v) > 1e-14 * static_cast<double>(value) * static_cast<double>(value);
  }
  EXPECT_TRUE(naive_is_off);
}

// Rounding must not make a variance negative, whatever the mean.
TEST_P(NormNumericsTest, NeverNegative) {
  bool naive_was_negative = false;
  for (unsigned seed = 0; seed < 40; ++seed) {
    const float mean = std::pow(10.0f, static_cast<float>(seed % 10));
    const auto x = random_normal(16 * 64, 100 + seed, mean, 1e-3f);
    for (const double v : reduced_variance(x, 64, 8)) EXPECT_GE(v, 0.0);
    for (const double v : naive_variance(x, 64)) naive_was_negative |= v < 0.0;
  }
  EXPECT_TRUE(naive_was_negative);
  EXPECT_EQ(from_sums(3.0, 3.0, 3.0 - 1e-12).variance, 0.0);
}

TEST_P(NormNumericsTest, Denormals) {
  NormShape shape{4, 4, 9, 0, 1e-5};
  NormInputs in;
  in.x = random_normal(shape.size(), 5, 0.0f, 1e-40f);
  in.dy = random_normal(shape.size(), 6);
  const NormOutputs out = batch_norm(shape, in, {});
  const NormResult expected = norm_reference(shape, in.x, {}, {}, {}, false, in.dy);
  for (std::size_t i = 0; i < in.x.size(); ++i) EXPECT_NEAR(out.y[i], expected.y[i], 1e-37);
  EXPECT_TRUE(near_relative(out.dx, expected.dx, 1e-6));
  for (const float inv_std : out.inv_std) EXPECT_FLOAT_EQ(inv_std, 316.227766f);
}

// The pass over memory that gives mean and M2 starts from a guess at the mean, made of four rows.
// Values that make the guess as bad as can be, and means that wander from block to block.
TEST_P(NormNumericsTest, MomentsDoNotDependOnAGoodGuess) {
  constexpr std::size_t kRows = 1500;
  using Shape = std::function<float(std::size_t, float)>;
  const Shape shapes[] = {
      [](std::size_t r, float v) { return r % 375 == 0 ? 1e4f + v : v; },  // a quarter of the rows
      [](std::size_t r, float v) { return r == 0 ? 1e6f : v; },
      [](std::size_t r, float v) { return r < 128 ? 0.0f : 1e3f + v; },  // a constant border
      [](std::size_t r, float v) { return 1e3f + static_cast<float>(r) + v; },
      [](std::size_t r, float v) { return (r / 100 % 2 == 0 ? -1e3f : 1e3f) + v; },
      [](std::size_t r, float v) { return r + 1 == kRows ? -1e5f : 1e2f + v; }};
  for (const int channels : {1, 16, 33, 64, 520})
    for (const Shape& shape : shapes) {
      std::vector<float> values = random_normal(kRows * to_size(channels), 21);
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = shape(i / to_size(channels), values[i]);
      const Doubles sums = doubles(1 + 2 * to_size(channels));
      run(BatchMoments{1, static_cast<int>(kRows), channels}, {floats(values), sums});
      for (std::size_t c = 0; c < to_size(channels); ++c) {
        double mean = 0.0, m2 = 0.0;
        for (std::size_t r = 0; r < kRows; ++r) mean += values[r * to_size(channels) + c] / kRows;
        for (std::size_t r = 0; r < kRows; ++r)
          m2 += std::pow(values[r * to_size(channels) + c] - mean, 2.0);
        const auto m = from_sums(sums[0], sums[1 + c], sums[1 + to_size(channels) + c]);
        ASSERT_NEAR(m.variance, m2 / kRows, 1e-6 * m2 / kRows) << channels << " channels, " << c;
        ASSERT_NEAR(m.mean, mean, 1e-6 * std::sqrt(m2 / kRows)) << channels << " channels, " << c;
      }
    }
}

// The mean is kept in two floats, so that all of it, and not only its first 24 bits, is taken out:
// y, dx, dγ and dβ are as good at a mean of 10⁴ deviations as at 0.
TEST_P(NormNumericsTest, GradientsFarFromZero) {
  for (const int groups : {0, 1, 8, kChannels})
    for (const float ratio : {0.0f, 1e2f, 1e3f, 1e4f}) {
      SCOPED_TRACE("groups " + std::to_string(groups) + ", mean/std " + std::to_string(ratio));
      NormShape shape = whole_batch();
      shape.groups = groups;
      NormInputs in;
      in.x = random_normal(shape.size(), 7, ratio);
      in.dy = random_normal(shape.size(), 8);
      in.gamma = random_normal(to_size(kChannels), 9, 1.0f, 0.3f);
      in.beta = random_normal(to_size(kChannels), 10);
      const NormOutputs out = normalize(shape, in, {});
      const NormResult e = norm_reference(shape, in.x, in.gamma, in.beta, {}, false, in.dy);
      EXPECT_TRUE(near_relative(out.y, e.y, 4e-7));
      EXPECT_TRUE(near_relative(out.dx, e.dx, 4e-7));
      EXPECT_TRUE(near_relative(out.dgamma, e.dgamma, 4e-7));
      EXPECT_TRUE(near_relative(out.dbeta, e.dbeta, 4e-7));
    }
}

// Per set of values that share statistics, to 1.2e-6 of its magnitude, however far from zero.
TEST_P(NormNumericsTest, TheInputGradientSumsToZeroPerSet) {
  for (const int groups : {0, 1, 8, kChannels})
    for (const float ratio : {0.0f, 1e2f, 1e3f, 1e4f}) {
      NormShape shape = whole_batch();
      shape.groups = groups;
      NormInputs in;
      in.x = random_normal(shape.size(), 11, ratio);
      in.dy = random_normal(shape.size(), 12, 3.0f);  // a mean that has to be taken out
      const NormOutputs out = normalize(shape, in, {});
      std::vector<double> sum(shape.sets()), magnitude(sum.size()), dy_sum(sum.size());
      for (std::size_t i = 0; i < out.dx.size(); ++i) {
        sum[shape.set_of(i)] += out.dx[i];
        magnitude[shape.set_of(i)] += std::abs(out.dx[i]);
        dy_sum[shape.set_of(i)] += in.dy[i];
      }
      for (std::size_t s = 0; s < sum.size(); ++s) {
        EXPECT_LE(std::abs(sum[s]), 1.2e-6 * magnitude[s])
            << "set " << s << " of groups " << groups << " at " << ratio;
        EXPECT_GT(std::abs(dy_sum[s]), magnitude[s]) << "the test must have something to take out";
      }
    }
}

TEST_P(NormNumericsTest, CountsBeyondTwentyFourBitsAreExact) {
  // 2^24 + 1 is the first count that f32 does not have; 65,505 the first that f16 rounds away.
  for (const double count : {65505.0, 16777217.0, 3.0 * 16777217.0, 1e12 + 1.0}) {
    const double mean = 2.0, variance = 3.0;
    const Doubles sums(*device_, {count, count * mean, count * variance + count * mean * mean});
    const Floats m = floats(2), inv_std = floats(1);
    const Floats running_mean = floats({0.0f}), running_var = floats({0.0f});
    run(BatchFinalize{1, 1, 1e-5, 1.0}, {sums, m, inv_std, running_mean, running_var, nullptr});
    EXPECT_EQ(m[0], 2.0f);
    EXPECT_FLOAT_EQ(inv_std[0], static_cast<float>(1.0 / std::sqrt(variance + 1e-5)));
    EXPECT_FLOAT_EQ(running_var[0], static_cast<float>(variance * (count / (count - 1.0))));
  }
  Doubles sums = doubles(3);
  const int rows = 65536 + 3;
  std::vector<float> ones(to_size(rows), 1.0f);
  const Floats x = floats(ones);
  double total = 0.0;
  for (int replica = 0; replica < 257; ++replica) {  // 257 · 65,539 > 2^24
    run(BatchMoments{1, rows, 1}, {x, sums});
    total += sums[0];
  }
  EXPECT_EQ(total, 257.0 * rows);
  EXPECT_GT(total, 16777216.0);
}

// A single column of more than 2^24 values: an f32 running sum would stop growing there.
TEST_P(NormNumericsTest, OneReplicaOfMoreThanTwentyFourBitsOfValues) {
  const int rows = 16777216 + 8;
  std::vector<float> values(to_size(rows), 1.0f);
  for (std::size_t i = 0; i < values.size(); i += 2) values[i] = 3.0f;
  const Floats x = floats(values);
  const Doubles sums = doubles(3);
  run(BatchMoments{1, rows, 1}, {x, sums});
  const auto m = from_sums(sums[0], sums[1], sums[2]);
  EXPECT_EQ(sums[0], rows);
  EXPECT_NEAR(m.mean, 2.0, 1e-12);
  EXPECT_NEAR(m.variance, 1.0, 1e-9);
}

TEST_P(NormNumericsTest, NothingHidesANanOrAnInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinity, -infinity})
    for (const int groups : {0, 1})
      for (const bool relu : {false, true})
        for (const std::size_t at : {0u, 13u, 40u}) {
          const NormShape shape{3, 5, 7, groups, 1e-5};
          NormInputs in;
          in.x = random_normal(shape.size(), 13);
          in.x[at] = bad;
          in.dy = random_normal(shape.size(), 14);
          if (groups == 0) {
            in.running_mean.assign(7, 0.0f);
            in.running_var.assign(7, 1.0f);
          }
          const NormOutputs out = normalize(shape, in, {relu, false, false});
          for (std::size_t i = 0; i < in.x.size(); ++i)
            EXPECT_EQ(std::isnan(out.y[i]), shape.set_of(i) == shape.set_of(at))
                << "value " << i << " for " << bad << " at " << at << " relu " << relu;
          for (std::size_t c = 0; c < out.running_var.size(); ++c) {
            EXPECT_EQ(std::isnan(out.running_var[c]), c == at % 7);
            // With an infinity among its values a mean is infinite or, by rounding, a nan.
            EXPECT_EQ(!std::isfinite(out.running_mean[c]), c == at % 7);
          }
        }
}

TEST_P(NormNumericsTest, ANanGradientReachesEveryGradientOfItsSet) {
  for (const int groups : {0, 1}) {
    const NormShape shape{3, 5, 7, groups, 1e-5};
    NormInputs in;
    in.x = random_normal(shape.size(), 15);
    in.dy = random_normal(shape.size(), 16);
    in.gamma.assign(7, 1.0f);
    in.beta.assign(7, 0.0f);
    in.dy[8] = std::numeric_limits<float>::quiet_NaN();
    const NormOutputs out = normalize(shape, in, {});
    for (std::size_t i = 0; i < in.x.size(); ++i)
      EXPECT_EQ(std::isnan(out.dx[i]), shape.set_of(i) == shape.set_of(8)) << i;
    EXPECT_TRUE(std::isnan(out.dgamma[1]));
    EXPECT_TRUE(std::isnan(out.dbeta[1]));
    EXPECT_FALSE(std::isnan(out.dgamma[0]));
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(NormNumericsTest);

}  // namespace
}  // namespace syncnorm::test
