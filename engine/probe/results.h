// Results of measurements beside training: plain data, for observers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace syncnorm {

/// The input of a conv or linear layer, before an update and what the update did to it, on the same
/// batch; see engine/probe/distribution.h.
struct ActivationProbe {
  std::string layer;
  double mean = 0.0, deviation = 0.0;
  double p15 = 0.0, p50 = 0.0, p85 = 0.0;
  double low = 0.0, high = 0.0;   // all values lie between
  std::vector<double> histogram;  // counts in equal bins from low to high
  double saturated = -1.0;        // share near a sigmoid's or tanh's limits; negative: neither
  double dead = -1.0;             // share of a ReLU's channels that are 0 everywhere, or negative
  double gaussian_divergence = 0.0, histogram_divergence = 0.0;  // KL(before‖behind), nats
  double mean_shift = 0.0;                                       // in deviations
  double deviation_ratio = 1.0;
};

/// Gradient and update of a conv or linear layer with the norms behind it.
struct GradientProbe {
  std::string layer;
  double gradient_norm = 0.0;
  double update_ratio = 0.0;  // ‖update‖ / ‖parameters‖
};

/// See engine/probe/landscape.h.
struct LandscapeProbe {
  std::vector<double> alpha, loss, predictiveness;  // alpha is empty: not measured
  double loss_low = 0.0, loss_high = 0.0;
  double smoothness = 0.0, lipschitz = 0.0;
};
struct CovariateShiftProbe {
  std::string layer;
  double gradient_norm = 0.0, distance = 0.0, cosine = 1.0;
};

/// See engine/probe/gradient_noise.h.
struct SignalToNoiseProbe {
  std::string layer;
  double signal = 0.0, noise = 0.0, ratio = 0.0;
};
/// How far replicas differ at the input of a norm layer; see engine/probe/replica_spread.h.
struct ReplicaSpreadProbe {
  std::string layer;
  double mean = 0.0, variance = 0.0;
};

struct ProbeEvent {
  std::int64_t step = 0;  // the update that was looked at, counted from 1
  double seconds = 0.0;   // spent on it, beside the step's own
  std::vector<ActivationProbe> activations;
  std::vector<GradientProbe> gradients;
  LandscapeProbe landscape;
  std::vector<CovariateShiftProbe> covariate_shift;
  std::vector<SignalToNoiseProbe> signal_to_noise;
  std::vector<ReplicaSpreadProbe> replica_spread;
};

/// A batch-normalization layer whose statistics are sampled.
struct LayerInfo {
  std::string name;
  int channels = 0;
};

/// The statistics of one layer in one step, as sums over the replicas of this rank; vectors are per
/// channel. Replica r has the count n, mean m and biased variance v.
struct LayerSums {
  double replicas = 0.0;         // with a sample
  double count = 0.0;            // Σ n
  double effective_count = 0.0;  // behind the statistics that normalize, the smallest of this rank
  double drift = 0.0;            // Σ (change of the normalizing mean since the last sample)² / v
  double drift_terms = 0.0;      // terms of that sum; 0 in the first sample
  std::span<const double> sum;   // Σ n·m
  std::span<const double> square;      // Σ n·(v + m²)
  std::span<const double> means;       // Σ m
  std::span<const double> means2;      // Σ m²
  std::span<const double> variances;   // Σ v
  std::span<const double> variances2;  // Σ v²
};

}  // namespace syncnorm
