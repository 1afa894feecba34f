// Statistics of normalization layers, computed from the sums that a node's ranks publish.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/train/observer.h"

namespace syncnorm {

/// One layer's statistics in one sampled step, over the replicas of one node; nan where unknown.
struct LayerReading {
  std::string name;
  double mean = 0.0, deviation = 0.0;  // of the layer's input, over all values and channels
  double effective_count = 0.0;        // values per channel in the normalizing statistics
  double mean_spread = 0.0;            // rms over replicas and channels of (m − mean) / deviation
  double variance_spread = 0.0;        // the same of (v − variance) / variance
  double drift = 0.0;  // rms over channels of the change of the normalizing mean since the last
                       // sample, in deviations
};

/// Returns how many numbers a rank publishes for these layers.
std::size_t layer_block_size(std::span<const LayerInfo> layers);
/// Writes the sums into `block`, which has layer_block_size() entries.
void pack_layers(std::int64_t step, std::span<const LayerSums> layers, std::span<double> block);
/// Adds up the blocks of several ranks. Returns nothing when they are of different steps.
std::optional<std::vector<LayerReading>> read_layers(
    std::span<const LayerInfo> layers, const std::vector<std::vector<double>>& blocks);

/// Returns readings for layers that have not been sampled yet.
std::vector<LayerReading> unknown_layers(std::span<const LayerInfo> layers);

}  // namespace syncnorm
