// Student's quantiles against tables, and the paired interval of a known table.
#include "engine/study/paired.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace syncnorm {
namespace {

// Student's t, two-sided 95% and 99%: any statistics textbook's table.
TEST(Student, QuantilesAreThoseOfTheTables) {
  const std::vector<std::pair<int, double>> table95 = {{1, 12.7062}, {2, 4.3027},  {3, 3.1824},
                                                       {4, 2.7764},  {5, 2.5706},  {9, 2.2622},
                                                       {10, 2.2281}, {30, 2.0423}, {101, 1.9837}};
  for (const auto& [degrees, t] : table95) EXPECT_NEAR(student_quantile(0.95, degrees), t, 6e-5);
  EXPECT_NEAR(student_quantile(0.99, 2), 9.9248, 6e-5);
  EXPECT_NEAR(student_quantile(0.99, 7), 3.4995, 6e-5);
  EXPECT_EQ(student_quantile(0.0, 4), 0.0);
}

TEST(Student, OneDegreeIsCauchysAndTwoHaveAClosedForm) {
  for (const double t : {0.0, 0.3, 1.0, 7.0}) {
    EXPECT_NEAR(student_share(t, 1), 2.0 / M_PI * std::atan(t), 1e-14);
    EXPECT_NEAR(student_share(t, 2), t / std::sqrt(2.0 + t * t), 1e-14);
  }
}

TEST(PairedDifference, OfAKnownTable) {
  const std::vector<double> a = {5.0, 7.0, 9.0}, b = {4.0, 5.0, 6.0};  // differences 1, 2, 3
  const auto found = paired_difference(a, b);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->pairs, 3);
  EXPECT_NEAR(found->mean, 2.0, 1e-15);
  EXPECT_NEAR(found->half_width, 4.30265 / std::sqrt(3.0), 1e-5);  // s = 1
}

TEST(PairedDifference, PairsTakeOutWhatSeedsHaveInCommon) {
  // Seeds differ by far more than the variants do, which differ by the same in every seed.
  const auto found =
      paired_difference(std::vector<double>{10.5, 50.5}, std::vector<double>{10, 50});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mean, 0.5);
  EXPECT_EQ(found->half_width, 0.0);
}

TEST(PairedDifference, OnePairSaysNothingOfItsSpread) {
  EXPECT_FALSE(paired_difference(std::vector<double>{1.0}, std::vector<double>{2.0}));
  EXPECT_FALSE(paired_difference({}, {}));
}

}  // namespace
}  // namespace syncnorm
