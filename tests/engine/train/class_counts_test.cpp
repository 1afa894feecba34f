// Results per class, by their definition.
#include "engine/train/class_counts.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/train/evaluation.h"

namespace syncnorm {
namespace {

ClassCounts counts() {
  ClassCounts c(4);
  for (const auto& [label, prediction] : {std::pair(0, 0), {0, 0}, {0, 1}, {1, 1}, {1, 0}, {1, 2}})
    c.add(label, prediction);
  return c;
}

TEST(ClassCounts, AreAccuracyAndIntersectionOverUnion) {
  const ClassCounts c = counts();
  EXPECT_DOUBLE_EQ(c.accuracy(0), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(c.accuracy(1), 1.0 / 3.0);
  EXPECT_TRUE(std::isnan(c.accuracy(2)));  // predicted, but never a label
  EXPECT_DOUBLE_EQ(c.iou(0), 2.0 / 4.0);
  EXPECT_DOUBLE_EQ(c.iou(1), 1.0 / 4.0);
  EXPECT_EQ(c.iou(2), 0.0);
  EXPECT_TRUE(std::isnan(c.iou(3)));  // neither
  EXPECT_DOUBLE_EQ(c.mean_iou(), (0.5 + 0.25 + 0.0) / 3.0);
  EXPECT_TRUE(std::isnan(ClassCounts(3).mean_iou()));
}

TEST(ClassCounts, SumsOfTheirValuesAreTheCountsOfAll) {
  std::vector<double> sum = counts().values();
  ClassCounts more(4);
  more.add(3, 3);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more.values()[i];
  const ClassCounts all = ClassCounts::from_values(sum);
  EXPECT_EQ(all.labelled, (std::vector<std::int64_t>{3, 3, 0, 1}));
  EXPECT_EQ(all.predicted, (std::vector<std::int64_t>{3, 2, 1, 1}));
  EXPECT_EQ(all.correct, (std::vector<std::int64_t>{2, 1, 0, 1}));
}

TEST(ClassCounts, ResultsHaveNamesOrNumbers) {
  const std::vector<ClassResult> named = class_results(counts(), {"sky", "sea", "sun", "sand"});
  EXPECT_EQ(named[1].name, "sea");
  EXPECT_EQ(named[1].labels, 3);
  EXPECT_EQ(class_results(counts(), {})[3].name, "3");
}

}  // namespace
}  // namespace syncnorm
