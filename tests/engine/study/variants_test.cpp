// Known tables of runs: what is chosen, what is measured against what, and the table that shows it.
#include "engine/study/variants.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/study/compare.h"

namespace syncnorm {
namespace {

const double kUnknown = std::nan("");

StudyOutcome run(const std::string& norm, const std::string& lr, const std::string& seed,
                 double test, double validation, const std::string& status = "done") {
  return {{{"norm", norm}, {"seed", seed}, {"optimizer.lr", lr}}, status, test, validation};
}

/// bn is best on the validation split at 0.1, and on the test set at 0.2.
std::vector<StudyOutcome> table() {
  return {run("bn", "0.1", "1", 0.50, 0.80), run("bn", "0.2", "1", 0.90, 0.75),
          run("bn", "0.1", "2", 0.60, 0.60), run("bn", "0.2", "2", 0.90, 0.60),
          run("gn", "0.1", "1", 0.10, 0.20), run("gn", "0.2", "1", 0.53, 0.50),
          run("gn", "0.1", "2", 0.10, 0.20), run("gn", "0.2", "2", 0.61, 0.50)};
}
const std::vector<std::string> kRate = {"optimizer.lr"};

TEST(Variants, TheBestOnTheValidationSplitIsChosenForEveryVariantAlone) {
  const auto variants = make_variants(table(), kRate);
  ASSERT_EQ(variants.size(), 2u);
  EXPECT_EQ(settings_text(variants[0].settings), "norm=bn");
  EXPECT_EQ(settings_text(variants[0].chosen), "optimizer.lr=0.1");
  EXPECT_EQ(variants[0].runs, (std::vector<std::size_t>{0, 2}));
  EXPECT_EQ(settings_text(variants[1].chosen), "optimizer.lr=0.2");
  EXPECT_EQ(variants[1].runs, (std::vector<std::size_t>{5, 7}));
}

TEST(Variants, DifferencesArePairedBySeed) {
  const auto variants = make_variants(table(), kRate);
  EXPECT_EQ(variants[0].reference, -1);
  EXPECT_FALSE(variants[0].difference);
  EXPECT_EQ(variants[1].reference, 0);
  ASSERT_TRUE(variants[1].difference);  // 0.53 − 0.50 and 0.61 − 0.60: 0.02 ± t·0.01
  EXPECT_NEAR(variants[1].difference->mean, 0.02, 1e-12);
  EXPECT_NEAR(variants[1].difference->half_width, 0.127062, 1e-6);
  EXPECT_EQ(difference_text(variants[1]), "+2.00 ± 12.71");
  EXPECT_EQ(difference_text(variants[0]), "");
}

TEST(Variants, ADivergedRunCountsAsNothingRightAndAMissingOneNotAtAll) {
  auto outcomes = table();
  outcomes[2].status = "diverged";  // bn at 0.1 then has a mean of 0.4
  EXPECT_EQ(settings_text(make_variants(outcomes, kRate)[0].chosen), "optimizer.lr=0.2");
  outcomes[2].status = "missing";
  EXPECT_EQ(settings_text(make_variants(outcomes, kRate)[0].chosen), "optimizer.lr=0.1");
  // Seed 2 of the reference is not known: one pair is left, which is none.
  EXPECT_FALSE(make_variants(outcomes, kRate)[1].difference);
  for (StudyOutcome& outcome : outcomes) outcome.status = "missing";
  const auto nothing = make_variants(outcomes, kRate);
  EXPECT_TRUE(nothing[0].chosen.empty());
  EXPECT_EQ(nothing[0].runs.size(), 4u);  // all that will be run
}

TEST(Variants, EqualOnesAreDecidedByTheirOrder) {
  const auto variants =
      make_variants({run("bn", "0.3", "1", 0.1, 0.5), run("bn", "0.1", "1", 0.9, 0.5)}, kRate);
  EXPECT_EQ(settings_text(variants[0].chosen), "optimizer.lr=0.3");
}

TEST(Variants, TheReferenceHasTheSameOtherSettings) {
  const auto at = [](StudySettings settings) {
    return StudyOutcome{std::move(settings), "done", 0.5, kUnknown};
  };
  const auto variants = make_variants(
      {at({{"norm", "bn"}, {"batch_per_replica", "1"}}),
       at({{"norm", "bn"}, {"batch_per_replica", "2"}}),
       at({{"norm", "gn"}, {"batch_per_replica", "2"}}),
       at({{"norm", "none"}, {"model.activation", "selu"}, {"batch_per_replica", "1"}}),
       at({{"norm", "gn"}, {"batch_per_replica", "4"}})},
      {});
  EXPECT_EQ(variants[1].reference, -1);
  EXPECT_EQ(variants[2].reference, 1);
  EXPECT_EQ(variants[3].reference, 0);   // which says nothing of an activation
  EXPECT_EQ(variants[4].reference, -1);  // there is no bn at 4
}

TEST(StudyTable, ShowsWhatWasChosenAndTheDifference) {
  std::vector<RunResult> results;
  for (const StudyOutcome& outcome : table()) results.push_back({outcome, 1.0, 100.0, 0.5});
  EXPECT_EQ(study_table(results, kRate),
            "| setting | chosen           | test accuracy    | difference, 95% | final loss | "
            "images/s | exposed reductions |\n"
            "|---------|------------------|------------------|-----------------|------------|"
            "----------|--------------------|\n"
            "| norm=bn | optimizer.lr=0.1 | 55.00% ± 7.07    |                 |     1.0000 | "
            "     100 |              50.0% |\n"
            "| norm=gn | optimizer.lr=0.2 | 57.00% ± 5.66    | +2.00 ± 12.71   |     1.0000 | "
            "     100 |              50.0% |\n");
}

}  // namespace
}  // namespace syncnorm
