// Of the CUDA norm kernels: whole passes in bf16 against the f64 oracle, sizes that take the wide
// accesses and both phases of a reduction, and results that do not depend on the order in which
// threads and blocks run.
#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/norm_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

using Narrow = Array<BFloat16>;

std::vector<float> widened(const Narrow& values) {
  std::vector<float> out;
  for (const BFloat16 v : values.values()) out.push_back(to_float(v));
  return out;
}

/// Random values that bf16 has.
std::vector<float> narrow_normal(std::size_t count, unsigned seed, float mean = 0.0f) {
  std::vector<float> values = random_normal(count, seed, mean);
  for (float& v : values) v = to_float(to_bfloat16(v));
  return values;
}

/// Every value is the oracle's within half a unit of bf16's last place, and a little of f32's.
testing::AssertionResult rounded_once(const std::vector<float>& actual,
                                      const std::vector<double>& expected, double floor) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double allowed = std::abs(expected[i]) / 256.0 * 1.001 + floor;
    if (!(std::abs(static_cast<double>(actual[i]) - expected[i]) <= allowed))
      return testing::AssertionFailure()
             << "value " << i << " is " << actual[i] << ", expected " << expected[i];
  }
  return testing::AssertionSuccess();
}

class NormCudaTest : public NormTest {
 protected:
  void TearDown() override { emulation::set_order(emulation::Order::forward); }

  Narrow narrow(const std::vector<float>& values) {
    std::vector<BFloat16> out;
    for (const float v : values) out.push_back(to_bfloat16(v));
    return {*device_, out};
  }
  Narrow narrow_result(std::size_t count) { return {*device_, std::vector<BFloat16>(count)}; }

  /// norm_test.h's passes with bf16 activations.
  NormOutputs narrow_norm(const NormShape& s, const NormInputs& in, const NormPath& path) {
    const auto channels = static_cast<std::size_t>(s.channels);
    const std::size_t sets = s.groups == 0 ? 1 : static_cast<std::size_t>(s.samples);
    const Narrow x = narrow(in.x), dy = narrow(in.dy);
    const Narrow residual = in.residual.empty() ? Narrow() : narrow(in.residual);
    const Narrow y = narrow_result(in.x.size()), dx = narrow_result(in.x.size());
    const Narrow g = path.keep_g ? narrow_result(in.x.size()) : Narrow();
    const Floats gamma = floats(in.gamma), beta = floats(in.beta);
    const Floats mean = floats(2 * channels * sets), inv_std = floats(channels * sets);
    const Floats dgamma = floats(channels), dbeta = floats(channels);
    const Argument mask = path.mask_from_y ? Argument(y) : Argument(nullptr);
    const Storage bf16 = Storage::bf16;
    if (s.groups == 0) {
      const Doubles sums = doubles(2 * channels + 1), gradient_sums = doubles(2 * channels);
      run(BatchMoments{s.samples, s.pixels, s.channels, bf16}, {x, sums});
      run(BatchFinalize{s.samples, s.channels, s.eps, 0.1},
          {sums, mean, inv_std, nullptr, nullptr, nullptr});
      run(BatchNormalize{s.samples, s.pixels, s.channels, path.relu, bf16},
          {x, mean, inv_std, gamma, beta, residual, nullptr, y});
      run(BatchGradientSums{s.samples, s.pixels, s.channels, path.relu, bf16},
          {dy, nullptr, x, mean, inv_std, gamma, beta, mask, nullptr, gradient_sums, dgamma, dbeta,
           g});
      BatchInputGradient gradient{s.samples, s.pixels, s.channels, path.relu && !path.keep_g};
      gradient.storage = bf16;
      run(gradient, {path.keep_g ? g : dy, x, mean, inv_std, gamma, beta, gradient_sums, sums,
                     nullptr, nullptr, nullptr, dx});
    } else {
      run(GroupNormForward{s.samples, s.pixels, s.channels, s.groups, s.eps, path.relu, s.centered,
                           bf16},
          {x, gamma, beta, residual, y, mean, inv_std});
      run(GroupNormBackward{s.samples, s.pixels, s.channels, s.groups, path.relu, s.centered, bf16},
          {dy, nullptr, x, mean, inv_std, gamma, beta, mask, dx, dgamma, dbeta, g});
    }
    return {widened(y),
            widened(dx),
            dgamma.values(),
            dbeta.values(),
            widened(g),
            {},
            inv_std.values(),
            {},
            {},
            {},
            {}};
  }

  static NormInputs inputs(const NormShape& s, unsigned seed, bool residual) {
    NormInputs in;
    in.x = narrow_normal(s.size(), seed, 0.7f);
    in.dy = narrow_normal(s.size(), seed + 1);
    in.gamma = random_normal(static_cast<std::size_t>(s.channels), seed + 2, 1.0f, 0.4f);
    in.beta = random_normal(static_cast<std::size_t>(s.channels), seed + 3);
    if (residual) in.residual = narrow_normal(s.size(), seed + 4);
    return in;
  }
};

std::vector<NormShape> narrow_shapes() {
  std::vector<NormShape> shapes;
  for (const int channels : {3, 8, 20, 64, 264})  // by single values, and by eight
    for (const int groups : {0, 1, channels}) {
      shapes.push_back({2, 37, channels, groups, 1e-5});
      shapes.push_back({1, 1100, channels, groups, 1e-5});  // several blocks to add up
    }
  shapes.push_back({3, 50, 64, 8, 1e-5});
  shapes.push_back({3, 50, 64, 1, 1e-5, false});  // RMS norm
  return shapes;
}

TEST_P(NormCudaTest, Bf16IsTheOracleRoundedOnce) {
  unsigned seed = 1;
  for (const NormShape& s : narrow_shapes())
    for (const bool relu : {false, true}) {
      SCOPED_TRACE(std::to_string(s.pixels) + "x" + std::to_string(s.channels) + " groups " +
                   std::to_string(s.groups) + (relu ? " relu" : ""));
      const NormInputs in = inputs(s, seed += 10, false);
      const NormResult e = norm_reference(s, in.x, in.gamma, in.beta, {}, relu, in.dy);
      const NormOutputs out = narrow_norm(s, in, {relu, false, false});
      const double scale = gradient_scale(out.inv_std, in.dy);
      EXPECT_TRUE(rounded_once(out.y, e.y, 1e-6));
      EXPECT_TRUE(rounded_once(out.dx, e.dx, 2e-6 * scale));
      EXPECT_TRUE(near_relative(out.dgamma, e.dgamma, 1e-5, 1e-1));
      EXPECT_TRUE(near_relative(out.dbeta, e.dbeta, 1e-5, 1e-1));
    }
}

// With a residual the mask comes from the stored y and the masked gradient is kept; it is dy or 0.
TEST_P(NormCudaTest, Bf16ResidualAndReluAreTheOracles) {
  unsigned seed = 5000;
  for (const NormShape& s : narrow_shapes()) {
    const NormInputs in = inputs(s, seed += 10, true);
    const NormResult e = norm_reference(s, in.x, in.gamma, in.beta, in.residual, true, in.dy);
    const NormOutputs out = narrow_norm(s, in, {true, true, true});
    EXPECT_TRUE(rounded_once(out.y, e.y, 1e-6));
    for (std::size_t i = 0; i < in.x.size(); ++i)
      EXPECT_EQ(out.g[i], out.y[i] > 0.0f ? in.dy[i] : 0.0f) << i;
    EXPECT_TRUE(rounded_once(out.dx, e.dx, 2e-6 * gradient_scale(out.inv_std, in.dy)));
  }
}

// A reduction whose threads raced would give other bits when they take turns the other way round.
TEST_P(NormCudaTest, TheOrderOfThreadsChangesNoBit) {
  for (const int groups : {0, 1, 16})
    for (const int channels : {16, 48, 80}) {
      const NormShape s{2, 700, channels, groups, 1e-5};
      NormInputs in = inputs(s, 77, true);
      emulation::set_order(emulation::Order::forward);
      const NormOutputs wide = normalize(s, in, {true, true, true});
      const NormOutputs narrow = narrow_norm(s, in, {true, true, true});
      emulation::set_order(emulation::Order::backward);
      const NormOutputs again = normalize(s, in, {true, true, true});
      const NormOutputs narrow_again = narrow_norm(s, in, {true, true, true});
      EXPECT_TRUE(same_bits(again.y, wide.y));
      EXPECT_TRUE(same_bits(again.dx, wide.dx));
      EXPECT_TRUE(same_bits(again.sums, wide.sums));
      EXPECT_TRUE(same_bits(again.gradient_sums, wide.gradient_sums));
      EXPECT_TRUE(same_bits(again.dgamma, wide.dgamma));
      EXPECT_TRUE(same_bits(narrow_again.dx, narrow.dx));
      EXPECT_TRUE(same_bits(narrow_again.dgamma, narrow.dgamma));
    }
}

// The control for the above: it must have run kernels, with wide accesses and in two phases.
TEST_P(NormCudaTest, ALargeReductionTakesTwoLaunches) {
  const auto launches = [&](int rows) {
    const Floats x = floats(random_normal(static_cast<std::size_t>(rows) * 16, 1));
    const Doubles sums = doubles(33);
    const std::uint64_t before = emulation::launches();
    run(BatchMoments{1, rows, 16}, {x, sums});
    return emulation::launches() - before;
  };
  EXPECT_EQ(launches(100), 1u);
  EXPECT_EQ(launches(5000), 2u);
}

INSTANTIATE_TEST_SUITE_P(BackEnd, NormCudaTest, testing::Values(kEmulatedCuda.c_str()),
                         instruction_set_name);

}  // namespace
}  // namespace syncnorm::test
