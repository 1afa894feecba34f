// How much one variant differs from another, when both were run with the same seeds.
#pragma once

#include <optional>
#include <span>

namespace syncnorm {

inline constexpr double kConfidence = 0.95;

/// mean ± half_width is the confidence interval of the difference, at kConfidence.
struct PairedDifference {
  double mean = 0.0, half_width = 0.0;
  int pairs = 0;
};

/// Student's paired interval (Student 1908): with the differences d = a − b of n pairs, their mean
/// and sample standard deviation s, mean ± t·s/√n, t the quantile of Student's distribution of
/// n − 1 degrees of freedom that leaves half of 1 − kConfidence above it. None for n < 2: one pair
/// says nothing of its spread. It assumes that the differences are about normal.
std::optional<PairedDifference> paired_difference(std::span<const double> a,
                                                  std::span<const double> b);

/// P(|T| < t) for Student's distribution of `degrees` ≥ 1 degrees of freedom (Abramowitz & Stegun
/// 1964, 26.7.3 and 26.7.4).
double student_share(double t, int degrees);
/// The t with student_share(t, degrees) = share, for a share in [0, 1).
double student_quantile(double share, int degrees);

}  // namespace syncnorm
