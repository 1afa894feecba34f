// A distribution of values as integer counts, which add up exactly: percentiles and histograms do
// not depend on the order of additions or the number of ranks.
//
// A bin contains the values with the same sign, exponent and upper six bits of mantissa, so its
// width is at most 1.6% of its values. Bins cover magnitudes from 2⁻²⁴ to 2¹⁶; the last bins also
// contain everything beyond.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace syncnorm {

inline constexpr std::size_t kBinsPerSign = 40 * 64;
inline constexpr std::size_t kDistributionBins = 2 * kBinsPerSign + 1;  // and one around zero

/// Returns the bin of a value, ascending with the value; a nan counts as zero.
std::size_t bin_of(float value);
/// Returns the lower end of a bin; for the index after the last bin, the end of the last.
double bin_begin(std::size_t bin);

/// Mean and biased standard deviation. moments_of() computes them from the count of values, their
/// sum and the sum of their squares.
struct Moments {
  double mean = 0.0, deviation = 0.0;
};
Moments moments_of(double count, double sum, double squares);

/// Returns the value below which `share` of all values lie, interpolated linearly within its bin.
/// `counts` has one entry per bin.
double percentile(std::span<const double> counts, double share);

/// Returns counts in `bins` equal bins between `low` and `high`, interpolated linearly from the
/// finer bins.
std::vector<double> histogram(std::span<const double> counts, double low, double high,
                              std::size_t bins);

/// Returns KL(before‖after) of the normal distributions with these moments, in nats; infinity if
/// exactly one of the deviations is 0, or both are with different means; 0 if both are with the
/// same mean.
double gaussian_divergence(const Moments& before, const Moments& after);

/// Returns KL(before‖after) in nats over 32 ranges that contain equal shares of the values before
/// (Wang et al. 2005, data-dependent partitions), with half a count added to each to keep it
/// finite.
double histogram_divergence(std::span<const double> before, std::span<const double> after);

}  // namespace syncnorm
