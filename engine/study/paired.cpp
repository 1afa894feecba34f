// See paired.h.
#include "engine/study/paired.h"

#include <cassert>
#include <cmath>
#include <numbers>

namespace syncnorm {
namespace {

/// Returns student_share() for the angle arctan(t/√degrees): a finite sum for integer degrees.
double share_of_angle(double angle, int degrees) {
  const double sine = std::sin(angle), cosine = std::cos(angle);
  const bool odd = degrees % 2 != 0;
  double term = odd ? cosine : 1.0, sum = degrees == 1 ? 0.0 : term;
  for (int k = odd ? 3 : 2; k <= degrees - 2; k += 2) {
    term *= cosine * cosine * (k - 1) / k;
    sum += term;
  }
  return odd ? 2.0 / std::numbers::pi * (angle + sine * sum) : sine * sum;
}

}  // namespace

double student_share(double t, int degrees) {
  return share_of_angle(std::atan(t / std::sqrt(static_cast<double>(degrees))), degrees);
}

double student_quantile(double share, int degrees) {
  double low = 0.0, high = std::numbers::pi / 2.0;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (share_of_angle(middle, degrees) < share ? low : high) = middle;
  }
  return std::sqrt(static_cast<double>(degrees)) * std::tan(low);
}

std::optional<PairedDifference> paired_difference(std::span<const double> a,
                                                  std::span<const double> b) {
  assert(a.size() == b.size());
  const auto n = static_cast<double>(a.size());
  if (a.size() < 2) return std::nullopt;
  PairedDifference result;
  result.pairs = static_cast<int>(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) result.mean += (a[i] - b[i]) / n;
  double squares = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double rest = a[i] - b[i] - result.mean;
    squares += rest * rest;
  }
  result.half_width =
      student_quantile(kConfidence, result.pairs - 1) * std::sqrt(squares / (n - 1.0) / n);
  return result;
}

}  // namespace syncnorm
