// See layer_metrics.h. A block is the step, then for each layer five numbers and six vectors over
// its channels. They are sums that can be added over ranks (engine/probe/replica_spread.h).
#include "monitoring/layer_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/probe/replica_spread.h"
#include "kernels/norm_math.h"

namespace syncnorm {
namespace {

constexpr std::size_t kScalars = 5;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::size_t size_of(const LayerInfo& layer) {
  return kScalars + kReplicaVectors * static_cast<std::size_t>(layer.channels);
}

LayerReading reading(const LayerInfo& layer, double* sums) {
  const double replicas = sums[0], count = sums[1], effective = sums[2];
  const auto channels = static_cast<std::size_t>(layer.channels);
  const ReplicaSums over_replicas = replica_sums_in(sums + kScalars, channels);
  double total = 0.0, squares = 0.0;
  for (std::size_t c = 0; c < channels; ++c) {
    total += over_replicas.sum[c];
    squares += over_replicas.square[c];
  }
  const ReplicaSpread spread = replica_spread(replicas, count, over_replicas);
  const MeanVariance layer_wide = from_sums(count * static_cast<double>(channels), total, squares);
  LayerReading result;
  result.name = layer.name;
  result.mean = layer_wide.mean;
  result.deviation = std::sqrt(layer_wide.variance);
  result.effective_count = effective;
  result.mean_spread = spread.mean;
  result.variance_spread = spread.variance;
  result.drift = std::sqrt(sums[3] / sums[4]);  // 0/0, unknown, in the first sample
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
