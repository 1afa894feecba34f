// Softmax cross-entropy against PyTorch, with label smoothing, unused slots and extreme logits.
#include <limits>

#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 1e-6;  // of the largest magnitude; the total 1e-7 of itself

class LossTest : public KernelTest {
 protected:
  struct Result {
    double total, correct;
    std::vector<float> dlogits;
  };
  Result loss(const SoftmaxCrossEntropy& op, const std::vector<float>& logits,
              const std::vector<std::int32_t>& labels) {
    const Doubles totals = doubles(kLossTotals);
    const Floats dlogits = floats(logits.size());
    run(op, {floats(logits), Array<std::int32_t>(*device_, labels), totals, dlogits});
    return {totals[0], totals[1], dlogits.values()};
  }
};

TEST_P(LossTest, MatchesPyTorch) {
  const auto cases = read_goldens("loss");
  ASSERT_GE(cases.size(), 6u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const SoftmaxCrossEntropy op{g.integer("samples"), g.integer("classes"), g.number("smoothing"),
                                 g.number("scale")};
    std::vector<std::int32_t> labels;
    for (const float label : g.tensor("labels")) labels.push_back(static_cast<std::int32_t>(label));
    const Result r = loss(op, g.tensor("logits"), labels);
    EXPECT_NEAR(r.total, g.number("total"), 1e-7 * std::abs(g.number("total")));
    EXPECT_EQ(r.correct, g.number("correct"));
    EXPECT_TRUE(near_relative(r.dlogits, g.tensor("dlogits"), kTolerance));

    const Doubles totals = doubles(kLossTotals);
    run(op, {floats(g.tensor("logits")), Array<std::int32_t>(*device_, labels), totals, nullptr});
    EXPECT_EQ(totals[0], r.total);
    EXPECT_EQ(totals[1], r.correct);
  }
}

TEST_P(LossTest, AnUnusedSlotAddsNothing) {
  const auto logits = random_normal(3 * 4, 1);
  const Result all = loss({3, 4, 0.1, 0.5}, logits, {1, -1, 2});
  const Result first = loss({1, 4, 0.1, 0.5}, {logits.begin(), logits.begin() + 4}, {1});
  const Result third = loss({1, 4, 0.1, 0.5}, {logits.begin() + 8, logits.end()}, {2});
  EXPECT_EQ(all.total, first.total + third.total);
  EXPECT_EQ(all.correct, first.correct + third.correct);
  for (std::size_t k = 4; k < 8; ++k) EXPECT_EQ(all.dlogits[k], 0.0f);
  const Result none = loss({2, 4, 0.0, 1.0}, {logits.begin(), logits.begin() + 8}, {-1, -1});
  EXPECT_EQ(none.total, 0.0);
  EXPECT_EQ(none.dlogits, std::vector<float>(8, 0.0f));
}

// The gradient of a sample sums to zero, and huge logits neither overflow nor lose the label.
TEST_P(LossTest, ExtremeLogits) {
  for (const double smoothing : {0.0, 0.2}) {
    const Result r = loss({2, 3, smoothing, 1.0}, {1e4f, -1e4f, 0.0f, 3e38f, -3e38f, 0.0f}, {0, 0});
    EXPECT_TRUE(std::isfinite(r.total));
    EXPECT_EQ(r.correct, 2.0);
    for (std::size_t n = 0; n < 2; ++n)
      EXPECT_NEAR(r.dlogits[3 * n] + r.dlogits[3 * n + 1] + r.dlogits[3 * n + 2], 0.0, 1e-6);
  }
  EXPECT_NEAR(loss({1, 2, 0.0, 1.0}, {-100.0f, 100.0f}, {0}).total, 200.0, 1e-9);
}

TEST_P(LossTest, ANanLogitMakesTheLossNan) {
  for (const std::size_t at : {0u, 1u, 2u}) {
    std::vector<float> logits = {1.0f, 2.0f, 3.0f};
    logits[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(loss({1, 3, 0.0, 1.0}, logits, {1}).total)) << at;
    logits[at] = std::numeric_limits<float>::infinity();
    EXPECT_FALSE(std::isfinite(loss({1, 3, 0.0, 1.0}, logits, {1}).total)) << at;
  }
}

// The vote and the counts ride on the reduction of the loss.
TEST_P(LossTest, CarriesTheVoteAndCountsTheSamples) {
  StepState state;
  state.vote = 1.0;
  const Doubles totals = doubles(kLossTotals);
  const Array<std::int32_t> labels(*device_, {0, -1, 1});
  const Floats logits = floats({1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f});
  run(SoftmaxCrossEntropy{3, 2}, {logits, labels, totals, nullptr}, state);
  EXPECT_EQ(totals[2], 1.0);
  EXPECT_EQ(totals[3], 2.0);
  EXPECT_EQ(totals[4], 2.0);
  run(SoftmaxCrossEntropy{3, 2}, {logits, labels, totals, nullptr});
  EXPECT_EQ(totals[2], 0.0);
}

SYNCNORM_FOR_ALL_BACK_ENDS(LossTest);

}  // namespace
}  // namespace syncnorm::test
