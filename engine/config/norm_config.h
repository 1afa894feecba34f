// The normalization of the layers of an experiment: the key `norm` and its entries for single
// layers. Plain data; the default values are only here.
#pragma once

#include <string>
#include <vector>

#include "engine/config/norm_traits.h"
#include "kernels/ops.h"

namespace syncnorm {

/// The location of a value: "file:line:column", or "command line" for an override.
using SourceMark = std::string;

enum class WeightsKind { plain, normalized, standardized, scaled_standardized, centered };

/// The values that layer norm normalizes together: all of a sample, or the channels of a pixel.
enum class LayerNormOver { sample, channels };

struct NormConfig {
  NormKind kind = NormKind::batch;
  int synced_replicas = 0;  // 0: all; 1: per-device BN; k: groups of k. Resolved by the loader: ≥ 1
  double eps = 1e-5;
  double momentum = 0.1;
  int groups = 8;
  int channels_per_group = 0;  // > 0: instead of groups
  FrozenParts frozen = FrozenParts::both;
  LayerNormOver over = LayerNormOver::sample;  // layer
  bool tlu = false;                            // frn: with thresholds in place of activations
  bool affine = true;
  Deviation deviation = Deviation::l2;  // batch: the deviation by which it divides
  bool l1_correction = true;            // deviation l1: times √(π/2)
  bool renormalize = false;             // batch: batch renormalization
  double r_max = 3.0, d_max = 5.0;
  int renormalize_start = 0, renormalize_ramp = 0;  // updates
  int momentum_images = 64;  // momentum: a batch that needs no averaging over updates
  int momentum_ramp = 0;     // momentum: updates; 0: the whole training
  // mabn, cross_iteration: updates whose statistics are taken together; the first with more than
  // one.
  int window = 16, window_start = 100;
  int precise_samples = 0;  // > 0: running statistics are recomputed before evaluations

  bool noise = false;  // after every norm; see NormNoise
  double noise_mean = 0.5, noise_scale = 1.25;
  double noise_sample_mean = 0.1, noise_sample_scale = 0.1;

  WeightsKind weights = WeightsKind::plain;
  double weights_eps = 1e-5;  // standardized: added to the variance of a filter

  /// Returns the factor of the mean absolute deviation; with √(π/2), the result is the standard
  /// deviation of normal values.
  double l1_factor() const { return l1_correction ? 1.2533141373155003 : 1.0; }

  NormTraits traits() const {
    if (kind != NormKind::frozen) return traits_of(kind);
    NormTraits traits = traits_of(frozen == FrozenParts::affine ? NormKind::batch : kind);
    traits.trains_affine = frozen == FrozenParts::statistics;
    return traits;
  }
  /// Returns how many groups of channels have statistics of their own, of `channels` channels.
  int groups_of(int channels) const {
    switch (traits().groups) {
      case ChannelGroups::one:
        return 1;
      case ChannelGroups::configured:
        return channels_per_group > 0 ? channels / channels_per_group : groups;
      case ChannelGroups::each:
        break;
    }
    return channels;
  }
  /// Returns true if the norm contains an activation, so that none may follow it directly.
  bool has_activation() const {
    const InnerActivation inner = traits().activation;
    return inner != InnerActivation::none && (inner != InnerActivation::threshold || tlu);
  }
  /// Returns the images over which statistics are taken, as a share of momentum_images; at most 1.
  double momentum_share(int batch_per_replica) const {
    const double images = static_cast<double>(synced_replicas) * batch_per_replica;
    return images < momentum_images ? images / momentum_images : 1.0;
  }
  /// Returns true for norms with statistics over the batch, which replicas may share.
  bool over_batch() const { return traits().statistics == StatisticsOver::batch; }
};

/// One entry of norm.layers: another norm for the norm layers that it matches.
struct NormRule {
  std::vector<std::string> match;  // patterns of layer names, as of fnmatch(3)
  NormConfig norm;   // resolved; what is one for all layers is that of Experiment::norm
  std::string text;  // the entry in flow form
  SourceMark mark;
};

}  // namespace syncnorm
