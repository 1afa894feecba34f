// The difference between two variants that were run with the same seeds.
#pragma once

#include <optional>
#include <span>

namespace syncnorm {

inline constexpr double kConfidence = 0.95;

/// The confidence interval of the difference, at kConfidence: mean ± half_width.
struct PairedDifference {
  double mean = 0.0, half_width = 0.0;
  int pairs = 0;
};

/// Returns Student's paired interval (Student 1908): for the differences d = a − b of n pairs, with
/// mean and sample standard deviation s, it is mean ± t·s/√n, where t is the quantile of Student's
/// distribution with n − 1 degrees of freedom that leaves half of 1 − kConfidence above it. Returns
/// nothing for n < 2, since one pair has no spread. Assumes roughly normal differences.
std::optional<PairedDifference> paired_difference(std::span<const double> a,
                                                  std::span<const double> b);

/// Returns P(|T| < t) for Student's distribution with `degrees` ≥ 1 degrees of freedom (Abramowitz
/// & Stegun 1964, 26.7.3 and 26.7.4).
double student_share(double t, int degrees);
/// Returns the t with student_share(t, degrees) = share, for a share in [0, 1).
double student_quantile(double share, int degrees);

}  // namespace syncnorm
