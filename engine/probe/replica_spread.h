// The distance between the statistics of single replicas and those of all replicas together.
//
// Sums over replicas suffice, so they can be added across ranks: with μ and σ² of all replicas, Σ
// (m − μ)² = Σ m² − 2μ Σ m + R μ², and the same for the variances.
#pragma once

#include <cstddef>
#include <span>

namespace syncnorm {

/// Sums per channel over replicas with count n, mean m and biased variance v: Σ n·m, Σ n·(v + m²),
/// Σ m, Σ m², Σ v, Σ v².
struct ReplicaSums {
  std::span<double> sum, square, means, means2, variances, variances2;
};
inline constexpr std::size_t kReplicaVectors = 6;
/// Returns the vectors stored one after another, with `channels` values each.
ReplicaSums replica_sums_in(double* values, std::size_t channels);

/// Adds a replica that has samples. `moments` [2C+1]: n, n·m and n·(v + m²) per channel.
void add_replica(std::span<const double> moments, const ReplicaSums& to);

/// Root mean square over the channels with a variance; nan if none has one.
struct ReplicaSpread {
  double mean = 0.0;      // of (m − μ)/σ over the replicas
  double variance = 0.0;  // of (v − σ²)/σ²
};

/// Computes the spread from `sums` over `replicas` replicas with samples and `count` values per
/// channel in total.
ReplicaSpread replica_spread(double replicas, double count, const ReplicaSums& sums);

}  // namespace syncnorm
