// Fully connected layers: values and gradients against PyTorch's.
#include <gtest/gtest.h>

#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 2e-6;  // of the largest magnitude

class LinearTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (emulated()) GTEST_SKIP() << "linear layers need cuDNN or cuBLASLt, and so a GPU";
  }
};

TEST_P(LinearTest, MatchesPyTorch) {
  const auto cases = read_goldens("linear");
  ASSERT_GE(cases.size(), 6u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const int samples = g.integer("samples"), in = g.integer("in"), out = g.integer("out");
    const Floats x = floats(g.tensor("x")), weight = floats(g.tensor("weight"));
    const Floats dy = floats(g.tensor("dy"));
    const bool biased = g.integer("bias") != 0;
    const Floats bias = biased ? floats(g.tensor("bias")) : Floats();
    const Floats dbias = biased ? floats(bias.size()) : Floats();
    const Floats y = floats(dy.size()), dx = floats(x.size()), dweight = floats(weight.size());
    run(LinearForward{samples, in, out}, {x, weight, bias, y});
    run(LinearDgrad{samples, in, out}, {dy, weight, dx});
    run(LinearWgrad{samples, in, out}, {x, dy, dweight, dbias});
    EXPECT_TRUE(near_relative(y.values(), g.tensor("y"), kTolerance));
    EXPECT_TRUE(near_relative(dx.values(), g.tensor("dx"), kTolerance));
    EXPECT_TRUE(near_relative(dweight.values(), g.tensor("dweight"), kTolerance));
    if (biased) {
      EXPECT_TRUE(near_relative(dbias.values(), g.tensor("dbias"), kTolerance));
    }
  }
}

// A multiplication that leaves the old contents in would turn them into nan.
TEST_P(LinearTest, OldContentsOfTheOutputDoNotMatter) {
  const Floats x = floats(random_normal(6, 1)), weight = floats(random_normal(6, 2));
  const Floats y = floats(std::vector<float>(4, NAN)), dx = floats(std::vector<float>(6, NAN));
  const Floats dweight = floats(std::vector<float>(6, NAN)), dy = floats(random_normal(4, 3));
  run(LinearForward{2, 3, 2}, {x, weight, nullptr, y});
  run(LinearDgrad{2, 3, 2}, {dy, weight, dx});
  run(LinearWgrad{2, 3, 2}, {x, dy, dweight, nullptr});
  for (const Floats* result : {&y, &dx, &dweight})
    for (const float value : result->values()) EXPECT_TRUE(std::isfinite(value));
}

SYNCNORM_FOR_ALL_BACK_ENDS(LinearTest);

}  // namespace
}  // namespace syncnorm::test
