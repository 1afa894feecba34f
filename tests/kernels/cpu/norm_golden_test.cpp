// Batch, group, layer and instance normalization against PyTorch: with and without affine
// parameters, with a residual and ReLU fused in, values, gradients, running statistics and
// evaluation.
#include "tests/kernels/cpu/norm_test.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 3e-6;   // of the largest magnitude
constexpr double kStatistics = 1e-6;  // of the largest magnitude, for running statistics

class NormGoldenTest : public NormTest {
 protected:
  /// The ways in which a step may run this case; a fused residual needs y and g.
  static std::vector<NormPath> paths(const GoldenCase& g) {
    const bool relu = g.integer("relu") != 0;
    if (g.has("residual")) return {{relu, true, true}};
    return {{relu, false, false}, {relu, false, true}, {relu, true, true}};
  }

  static void compare(const NormOutputs& out, const GoldenCase& g, const NormPath& path) {
    EXPECT_TRUE(near_relative(out.y, g.tensor("y"), kTolerance));
    EXPECT_TRUE(near_relative(out.dx, g.tensor("dx"), kTolerance,
                              gradient_scale(out.inv_std, g.tensor("dy"))));
    if (g.has("gamma")) {
      EXPECT_TRUE(near_relative(out.dgamma, g.tensor("dgamma"), kTolerance, 1e-2));
      EXPECT_TRUE(near_relative(out.dbeta, g.tensor("dbeta"), kTolerance, 1e-2));
    }
    if (path.keep_g && g.has("dresidual")) {
      EXPECT_EQ(out.g, g.tensor("dresidual"));
    }
  }
};

TEST_P(NormGoldenTest, BatchNormMatchesPyTorch) {
  const auto cases = read_goldens("batch_norm");
  ASSERT_GE(cases.size(), 48u);
  for (const GoldenCase& g : cases) {
    const NormShape shape{g.integer("samples"), g.integer("pixels"), g.integer("channels"), 0,
                          g.number("eps")};
    for (const NormPath& path : paths(g)) {
      SCOPED_TRACE(g.name + (path.keep_g ? " g" : "") + (path.mask_from_y ? " y" : ""));
      const NormOutputs out = batch_norm(shape, norm_inputs(g), path, g.number("momentum"));
      compare(out, g, path);
      EXPECT_TRUE(near_relative(out.running_mean, g.tensor("new_mean"), kStatistics));
      EXPECT_TRUE(near_relative(out.running_var, g.tensor("new_var"), kStatistics));
    }
  }
}

TEST_P(NormGoldenTest, EvaluationUsesRunningStatistics) {
  for (const GoldenCase& g : read_goldens("batch_norm")) {
    SCOPED_TRACE(g.name);
    const int samples = g.integer("samples"), channels = g.integer("channels");
    const auto size = static_cast<std::size_t>(channels);
    const Floats running_mean = floats(g.tensor("new_mean")),
                 running_var = floats(g.tensor("new_var"));
    const Floats mean = floats(2 * size), inv_std = floats(size);
    run(BatchFromRunning{samples, channels, g.number("eps")},
        {running_mean, running_var, mean, inv_std});
    const Floats x = floats(g.tensor("x")), y = floats(x.size());
    const Floats gamma = g.has("gamma") ? floats(g.tensor("gamma")) : Floats();
    const Floats beta = g.has("beta") ? floats(g.tensor("beta")) : Floats();
    run(BatchNormalize{samples, g.integer("pixels"), channels, false},
        {x, mean, inv_std, gamma, beta, nullptr, nullptr, y});
    EXPECT_TRUE(near_relative(y.values(), g.tensor("evaluated"), kTolerance));
  }
}

TEST_P(NormGoldenTest, GroupNormMatchesPyTorch) {
  const auto cases = read_goldens("group_norm");
  ASSERT_GE(cases.size(), 56u);
  for (const GoldenCase& g : cases) {
    const NormShape shape{g.integer("samples"), g.integer("pixels"), g.integer("channels"),
                          g.integer("groups"), g.number("eps")};
    for (const NormPath& path : paths(g)) {
      SCOPED_TRACE(g.name + (path.keep_g ? " g" : "") + (path.mask_from_y ? " y" : ""));
      compare(group_norm(shape, norm_inputs(g), path), g, path);
    }
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(NormGoldenTest);

}  // namespace
}  // namespace syncnorm::test
