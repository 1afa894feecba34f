// A distribution of values as counts that add up exactly: the same percentiles and histograms
// whatever the order and the number of ranks.
//
// A bin holds the values whose sign, exponent and six upper bits of mantissa are the same, so it is
// 1.6% of its values wide; between 2⁻²⁴ and 2¹⁶, beyond which the last bins take everything.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace syncnorm {

inline constexpr std::size_t kBinsPerSign = 40 * 64;
inline constexpr std::size_t kDistributionBins = 2 * kBinsPerSign + 1;  // and one around zero

/// The bin of a value, ascending with it; a nan counts as zero.
std::size_t bin_of(float value);
/// Where a bin begins; of the bin behind the last, where that ends.
double bin_begin(std::size_t bin);

/// Mean and biased standard deviation; from counts of values and sums of them and their squares.
struct Moments {
  double mean = 0.0, deviation = 0.0;
};
Moments moments_of(double count, double sum, double squares);

/// The value below which `share` of all lie, linear within its bin. `counts`: one per bin.
double percentile(std::span<const double> counts, double share);

/// Counts in `bins` equal bins between `low` and `high`, linear within the finer ones.
std::vector<double> histogram(std::span<const double> counts, double low, double high,
                              std::size_t bins);

/// KL(old‖new) of the normal distributions with these moments, in nats; infinite where `after` has
/// no spread, 0 where both have none and the same mean.
double gaussian_divergence(const Moments& before, const Moments& after);

/// KL(old‖new) in nats over 32 ranges that hold equal shares of the old values (Wang et al. 2005,
/// data-dependent partitions), with half a count added to each so that it stays finite.
double histogram_divergence(std::span<const double> before, std::span<const double> after);

}  // namespace syncnorm
