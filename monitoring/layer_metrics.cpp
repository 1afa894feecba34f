// A block is the step, then for each layer five numbers and six vectors over its channels.
//
// With μ and σ² of all replicas together, Σ (m − μ)² = Σ m² − 2μ Σ m + R μ², and the same for the
// variances: sums are enough, so a rank need not know the others' statistics.
#include "monitoring/layer_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/norm_math.h"

namespace syncnorm {
namespace {

constexpr std::size_t kScalars = 5;
constexpr std::size_t kVectors = 6;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::size_t size_of(const LayerInfo& layer) {
  return kScalars + kVectors * static_cast<std::size_t>(layer.channels);
}

/// Of sums over `n` values, relative to `scale`²; rounding may take it below zero.
double spread(double n, double sum, double square, double center, double scale2) {
  return std::max(0.0, square / n - 2.0 * center * sum / n + center * center) / scale2;
}

LayerReading reading(const LayerInfo& layer, const double* sums) {
  const double replicas = sums[0], count = sums[1], effective = sums[2];
  const auto channels = static_cast<std::size_t>(layer.channels);
  const auto vector = [&](std::size_t index) { return sums + kScalars + index * channels; };
  double total = 0.0, squares = 0.0, mean_spread = 0.0, variance_spread = 0.0, terms = 0.0;
  for (std::size_t c = 0; c < channels; ++c) {
    total += vector(0)[c];
    squares += vector(1)[c];
    const MeanVariance all = from_sums(count, vector(0)[c], vector(1)[c]);
    if (all.variance <= 0.0) continue;  // a dead channel has no scale
    mean_spread += spread(replicas, vector(2)[c], vector(3)[c], all.mean, all.variance);
    variance_spread +=
        spread(replicas, vector(4)[c], vector(5)[c], all.variance, all.variance * all.variance);
    terms += 1.0;
  }
  const MeanVariance layer_wide = from_sums(count * static_cast<double>(channels), total, squares);
  LayerReading result;
  result.name = layer.name;
  result.mean = layer_wide.mean;
  result.deviation = std::sqrt(layer_wide.variance);
  result.effective_count = effective;
  result.mean_spread = std::sqrt(mean_spread / terms);
  result.variance_spread = std::sqrt(variance_spread / terms);
  result.drift = std::sqrt(sums[3] / sums[4]);  // 0/0 in the first sample: not known
  return result;
}

}  // namespace

std::size_t layer_block_size(std::span<const LayerInfo> layers) {
  std::size_t size = 1;
  for (const LayerInfo& layer : layers) size += size_of(layer);
  return size;
}

void pack_layers(std::int64_t step, std::span<const LayerSums> layers, std::span<double> block) {
  auto at = block.begin();
  *at++ = static_cast<double>(step);
  for (const LayerSums& layer : layers) {
    for (const double value :
         {layer.replicas, layer.count, layer.effective_count, layer.drift, layer.drift_terms})
      *at++ = value;
    for (const auto& values :
         {layer.sum, layer.square, layer.means, layer.means2, layer.variances, layer.variances2})
      at = std::copy(values.begin(), values.end(), at);
  }
}

std::optional<std::vector<LayerReading>> read_layers(
    std::span<const LayerInfo> layers, const std::vector<std::vector<double>>& blocks) {
  if (blocks.empty()) return std::nullopt;
  std::vector<double> total = blocks[0];
  std::vector<std::size_t> begins;
  std::size_t begin = 1;
  for (const LayerInfo& layer : layers) {
    begins.push_back(begin);
    begin += size_of(layer);
  }
  for (std::size_t b = 1; b < blocks.size(); ++b) {
    if (blocks[b][0] != total[0]) return std::nullopt;
    std::vector<double> effective;
    for (const std::size_t at : begins)
      effective.push_back(blocks[b][at] > 0.0 && total[at] > 0.0
                              ? std::min(blocks[b][at + 2], total[at + 2])
                              : std::max(blocks[b][at + 2], total[at + 2]));
    for (std::size_t i = 1; i < total.size(); ++i) total[i] += blocks[b][i];
    for (std::size_t l = 0; l < begins.size(); ++l) total[begins[l] + 2] = effective[l];
  }
  std::vector<LayerReading> readings;
  for (std::size_t l = 0; l < layers.size(); ++l)
    readings.push_back(reading(layers[l], total.data() + begins[l]));
  return readings;
}

std::vector<LayerReading> unknown_layers(std::span<const LayerInfo> layers) {
  std::vector<LayerReading> readings;
  for (const LayerInfo& layer : layers)
    readings.push_back({layer.name, kNan, kNan, kNan, kNan, kNan, kNan});
  return readings;
}

}  // namespace syncnorm
