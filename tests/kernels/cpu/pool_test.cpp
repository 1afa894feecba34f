// Pooling: values and gradients against PyTorch's, with padding, overlap and whole maps.
#include <gtest/gtest.h>

#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 1e-6;  // of the largest magnitude

PoolShape shape_of(const GoldenCase& g) {
  return {g.integer("max") != 0 ? PoolKind::max : PoolKind::average,
          g.integer("height"),
          g.integer("width"),
          g.integer("channels"),
          g.integer("kernel_height"),
          g.integer("kernel_width"),
          g.integer("stride"),
          g.integer("padding")};
}

class PoolTest : public KernelTest {
 protected:
  Array<unsigned char> workspace(const PoolForward& op) {
    const std::size_t bytes = device_->workspace_bytes(op);
    return bytes > 0 ? Array<unsigned char>(*device_, bytes) : Array<unsigned char>();
  }
};

TEST_P(PoolTest, MatchesPyTorch) {
  const auto cases = read_goldens("pooling");
  ASSERT_GE(cases.size(), 18u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const PoolForward forward{g.integer("samples"), shape_of(g), true};
    const Floats x = floats(g.tensor("x")), dy = floats(g.tensor("dy"));
    const Floats y = floats(dy.size()), dx = floats(x.size());
    const auto kept = workspace(forward);
    run(forward, {x, y, kept});
    run(PoolBackward{forward.samples, forward.shape}, {dy, kept, dx});
    EXPECT_TRUE(near_relative(y.values(), g.tensor("y"), kTolerance));
    EXPECT_TRUE(near_relative(dx.values(), g.tensor("dx"), kTolerance));
  }
}

TEST_P(PoolTest, EvaluationKeepsNothingAndGivesTheSameBits) {
  for (const GoldenCase& g : read_goldens("pooling")) {
    SCOPED_TRACE(g.name);
    PoolForward op{g.integer("samples"), shape_of(g), true};
    const Floats x = floats(g.tensor("x"));
    const Floats trained = floats(g.tensor("y").size()), evaluated = floats(trained.size());
    const auto kept = workspace(op);
    run(op, {x, trained, kept});
    op.training = false;
    EXPECT_EQ(device_->workspace_bytes(op), 0u);
    run(op, {x, evaluated, nullptr});
    EXPECT_TRUE(same_bits(evaluated.values(), trained.values()));
  }
}

// Padding is no value: a map of negative numbers has a negative maximum and average at its border.
TEST_P(PoolTest, PaddingIsNoValue) {
  for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
    const PoolForward op{1, {kind, 4, 4, 3, 3, 3, 2, 1}, false};
    const Floats x = floats(std::vector<float>(48, -2.5f)), y = floats(12);
    run(op, {x, y, nullptr});
    EXPECT_EQ(y.values(), std::vector<float>(12, -2.5f));
  }
}

SYNCNORM_FOR_ALL_BACK_ENDS(PoolTest);

}  // namespace
}  // namespace syncnorm::test
