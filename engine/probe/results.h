// Results of measurements during training: plain data for observers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace syncnorm {

/// The input of a conv or linear layer before an update, and its change by the update, on the same
/// batch; see engine/probe/distribution.h.
struct ActivationProbe {
  std::string layer;
  double mean = 0.0, deviation = 0.0;
  double p15 = 0.0, p50 = 0.0, p85 = 0.0;
  double low = 0.0, high = 0.0;   // range of all values
  std::vector<double> histogram;  // counts in equal bins from low to high
  double saturated = -1.0;        // share near the limits of a sigmoid or tanh; negative for others
  double dead = -1.0;  // share of a ReLU's channels that are always 0; negative for others
  double gaussian_divergence = 0.0, histogram_divergence = 0.0;  // KL(before‖after), nats
  double mean_shift = 0.0;                                       // in deviations
  double deviation_ratio = 1.0;
};

/// Gradient and update of a conv or linear layer and the norms after it.
struct GradientProbe {
  std::string layer;
  double gradient_norm = 0.0;
  double update_ratio = 0.0;  // ‖update‖ / ‖parameters‖
};

/// See engine/probe/landscape.h.
struct LandscapeProbe {
  std::vector<double> alpha, loss, predictiveness;  // alpha is empty if not measured
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
/// Differences between replicas at the input of a norm layer; see engine/probe/replica_spread.h.
struct ReplicaSpreadProbe {
  std::string layer;
  double mean = 0.0, variance = 0.0;
};

struct ProbeEvent {
  std::int64_t step = 0;  // the measured update, counted from 1
  double seconds = 0.0;   // of the measurement, in addition to the step's
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

/// Statistics of one layer in one step, as sums over this rank's replicas; vectors are per channel.
/// Replica r has count n, mean m and biased variance v.
struct LayerSums {
  double replicas = 0.0;         // replicas with samples
  double count = 0.0;            // Σ n
  double effective_count = 0.0;  // count of the normalizing statistics, smallest on this rank
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
