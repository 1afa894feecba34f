// See distribution.h.
#include "engine/probe/distribution.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "kernels/norm_math.h"

namespace syncnorm {
namespace {

constexpr int kDroppedBits = 23 - 6;  // low mantissa bits
constexpr double kRanges = 32.0;      // number of ranges in histogram_divergence

/// Returns an integer that grows with the magnitude, in steps of one bin.
std::uint32_t steps_of(float magnitude) {
  return std::bit_cast<std::uint32_t>(magnitude) >> kDroppedBits;
}

const std::uint32_t kFirstStep = steps_of(0x1p-24f);

double magnitude_of(std::size_t steps) {
  const auto bits = (static_cast<std::uint32_t>(steps) + kFirstStep) << kDroppedBits;
  return static_cast<double>(std::bit_cast<float>(bits));
}

double total(std::span<const double> counts) {
  return std::accumulate(counts.begin(), counts.end(), 0.0);
}

}  // namespace

std::size_t bin_of(float value) {
  const float magnitude = std::abs(value);
  if (!(magnitude >= 0x1p-24f)) return kBinsPerSign;
  const std::size_t steps =
      std::min<std::size_t>(steps_of(magnitude) - kFirstStep, kBinsPerSign - 1);
  return value > 0.0f ? kBinsPerSign + 1 + steps : kBinsPerSign - 1 - steps;
}

double bin_begin(std::size_t bin) {
  if (bin <= kBinsPerSign) return -magnitude_of(kBinsPerSign - bin);
  return magnitude_of(bin - kBinsPerSign - 1);
}

Moments moments_of(double count, double sum, double squares) {
  const MeanVariance m = from_sums(count, sum, squares);
  return {m.mean, std::sqrt(m.variance)};
}

double percentile(std::span<const double> counts, double share) {
  const double wanted = share * total(counts);
  double below = 0.0;
  for (std::size_t bin = 0; bin < counts.size(); ++bin) {
    if (counts[bin] > 0.0 && below + counts[bin] >= wanted) {
      if (bin == kBinsPerSign) return 0.0;
      const double part = (wanted - below) / counts[bin];
      return bin_begin(bin) + part * (bin_begin(bin + 1) - bin_begin(bin));
    }
    below += counts[bin];
  }
  return std::nan("");
}

std::vector<double> histogram(std::span<const double> counts, double low, double high,
                              std::size_t bins) {
  std::vector<double> result(bins, 0.0);
  const double width = (high - low) / static_cast<double>(bins);
  const auto place = [&](double x) {
    const double at = std::floor((x - low) / width);
    return static_cast<std::size_t>(std::clamp(at, 0.0, static_cast<double>(bins - 1)));
  };
  for (std::size_t bin = 0; bin < counts.size(); ++bin) {
    if (counts[bin] == 0.0) continue;
    const double begin = bin_begin(bin), end = bin_begin(bin + 1);
    const std::size_t first = place(begin), last = place(end);
    double left = begin, given = 0.0;
    for (std::size_t i = first; i < last; ++i) {
      const double right = std::max(left, low + static_cast<double>(i + 1) * width);
      const double part = counts[bin] * (right - left) / (end - begin);
      result[i] += part;
      given += part;
      left = right;
    }
    result[last] += counts[bin] - given;
  }
  return result;
}

double gaussian_divergence(const Moments& before, const Moments& after) {
  const double distance = before.mean - after.mean;
  if (before.deviation == 0.0 && after.deviation == 0.0 && distance == 0.0) return 0.0;
  if (before.deviation == 0.0 || after.deviation == 0.0)
    return std::numeric_limits<double>::infinity();
  const double ratio = before.deviation / after.deviation;
  const double shift = distance / after.deviation;
  return -std::log(ratio) + 0.5 * (ratio * ratio + shift * shift - 1.0);
}

double histogram_divergence(std::span<const double> before, std::span<const double> after) {
  const double all = total(before);
  std::vector<double> old_counts, new_counts;
  double old_count = 0.0, new_count = 0.0, passed = 0.0;
  for (std::size_t bin = 0; bin < before.size(); ++bin) {
    old_count += before[bin];
    new_count += after[bin];
    const double wanted = static_cast<double>(old_counts.size() + 1) * all / kRanges;
    if (passed + old_count < wanted || old_count == 0.0) continue;
    passed += old_count;
    old_counts.push_back(old_count);
    new_counts.push_back(new_count);
    old_count = new_count = 0.0;
  }
  if (old_counts.empty()) return std::nan("");
  old_counts.back() += old_count;  // counts above the last old value
  new_counts.back() += new_count;
  const double added = 0.5 * static_cast<double>(old_counts.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < old_counts.size(); ++i) {
    const double p = (old_counts[i] + 0.5) / (all + added);
    const double q = (new_counts[i] + 0.5) / (total(after) + added);
    sum += p * std::log(p / q);
  }
  return sum;
}

}  // namespace syncnorm
