// See replica_spread.h.
#include "engine/probe/replica_spread.h"

#include <algorithm>
#include <cmath>

#include "kernels/norm_math.h"

namespace syncnorm {
namespace {

/// Returns the mean squared distance to `center` from sums over `n` values, divided by `scale2`.
/// Negative values, which rounding can cause, become 0.
double spread(double n, double sum, double square, double center, double scale2) {
  return std::max(0.0, square / n - 2.0 * center * sum / n + center * center) / scale2;
}

}  // namespace

ReplicaSums replica_sums_in(double* values, std::size_t channels) {
  const auto vector = [&](std::size_t index) {
    return std::span(values + index * channels, channels);
  };
  return {vector(0), vector(1), vector(2), vector(3), vector(4), vector(5)};
}

void add_replica(std::span<const double> moments, const ReplicaSums& to) {
  const double n = moments[0];
  const std::size_t channels = to.sum.size();
  for (std::size_t c = 0; c < channels; ++c) {
    const MeanVariance m = from_sums(n, moments[1 + c], moments[1 + channels + c]);
    to.sum[c] += moments[1 + c];
    to.square[c] += moments[1 + channels + c];
    to.means[c] += m.mean;
    to.means2[c] += m.mean * m.mean;
    to.variances[c] += m.variance;
    to.variances2[c] += m.variance * m.variance;
  }
}

ReplicaSpread replica_spread(double replicas, double count, const ReplicaSums& sums) {
  ReplicaSpread result;
  double terms = 0.0;
  for (std::size_t c = 0; c < sums.sum.size(); ++c) {
    const MeanVariance all = from_sums(count, sums.sum[c], sums.square[c]);
    if (all.variance <= 0.0) continue;  // a dead channel has no scale
    result.mean += spread(replicas, sums.means[c], sums.means2[c], all.mean, all.variance);
    result.variance += spread(replicas, sums.variances[c], sums.variances2[c], all.variance,
                              all.variance * all.variance);
    terms += 1.0;
  }
  return {std::sqrt(result.mean / terms), std::sqrt(result.variance / terms)};
}

}  // namespace syncnorm
