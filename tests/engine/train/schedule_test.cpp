// Learning rates by hand.
#include "engine/train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/config/load.h"

namespace syncnorm::test {
namespace {

double rate(const std::string& yaml, std::int64_t step, std::int64_t total = 100) {
  return learning_rate(parse_experiment_text(yaml, "test.yaml").experiment, step, total);
}

TEST(Schedule, ConstantAndWarmUp) {
  EXPECT_DOUBLE_EQ(rate("optimizer: {lr: 0.4}", 57), 0.4);
  const std::string warm = "optimizer: {lr: 0.4}\nschedule: {warmup_steps: 4}";
  EXPECT_DOUBLE_EQ(rate(warm, 0), 0.1);
  EXPECT_DOUBLE_EQ(rate(warm, 3), 0.4);
  EXPECT_DOUBLE_EQ(rate(warm, 4), 0.4);
}

TEST(Schedule, StepMultipliesAtMilestones) {
  const std::string yaml =
      "optimizer: {lr: 1.0}\nschedule: {kind: step, milestones: [10, 20], gamma: 0.5}";
  EXPECT_DOUBLE_EQ(rate(yaml, 9), 1.0);
  EXPECT_DOUBLE_EQ(rate(yaml, 10), 0.5);
  EXPECT_DOUBLE_EQ(rate(yaml, 20), 0.25);
}

TEST(Schedule, CosineAndPolynomialEndAtTheFinalRate) {
  const std::string cosine = "optimizer: {lr: 1.0}\nschedule: {kind: cosine, final_lr: 0.2}";
  EXPECT_DOUBLE_EQ(rate(cosine, 0), 1.0);
  EXPECT_NEAR(rate(cosine, 50), 0.6, 1e-12);
  EXPECT_NEAR(rate(cosine, 100), 0.2, 1e-12);
  const std::string square =
      "optimizer: {lr: 1.0}\nschedule: {kind: polynomial, power: 2.0, warmup_steps: 20}";
  EXPECT_DOUBLE_EQ(rate(square, 20), 1.0);
  EXPECT_DOUBLE_EQ(rate(square, 60), 0.25);
}

TEST(Schedule, LinearScalingByGlobalBatch) {
  EXPECT_DOUBLE_EQ(
      rate("replicas: 8\nbatch_per_replica: 4\noptimizer: {lr: 0.1, lr_reference_batch: 16}", 0),
      0.2);
}

}  // namespace
}  // namespace syncnorm::test
