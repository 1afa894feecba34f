// Traits of norm kinds, which the rest of the program queries. A new kind compiles only when it
// defines every trait: the switch is exhaustive (-Werror=switch), and a trait has no default.
#pragma once

namespace syncnorm {

enum class NormKind {
  none,
  batch,
  momentum,
  mabn,
  cross_iteration,
  group,
  layer,
  instance,
  rms,
  frn,
  evonorm_s0,
  evonorm_b0,
  switchable,
  dyt,
  derf,
  frozen,
};

/// The parts that kind: frozen keeps.
enum class FrozenParts { both, statistics, affine };

template <class T>
class Answer {
 public:
  constexpr Answer(T value) : value_(value) {}
  constexpr operator T() const { return value_; }

 private:
  T value_;
};

/// The values over which mean and deviation are computed.
enum class StatisticsOver {
  nothing,
  batch,    // all samples of the replicas that share statistics
  running,  // none: they are constants from a checkpoint
  sample,
};

/// Number of channel groups with separate statistics: one, norm.groups, or one per channel.
enum class ChannelGroups { one, configured, each };

/// The numbers that a layer learns besides γ and β, whatever norm.affine says.
enum class LayerScalars { none, alpha, alpha_and_shift };

/// The activation that a norm contains; it takes the place of one directly behind the norm. A
/// threshold is there with norm.tlu only.
enum class InnerActivation { none, threshold, swish, rational };

struct NormTraits {
  Answer<bool> layer;  // there is a layer at all
  Answer<StatisticsOver> statistics;
  Answer<bool> subtracts_mean;      // removes a bias before it, which its β then replaces
  Answer<bool> has_beta;            // with norm.affine
  Answer<bool> absorbs_activation;  // can fuse with the residual add and the ReLU after it
  Answer<ChannelGroups> groups;
  Answer<bool> trains_affine;  // γ and β are trained (with norm.affine)
  Answer<bool> one_value;      // is defined for a single value per channel
  Answer<LayerScalars> scalars;
  Answer<InnerActivation> activation;
};

constexpr NormTraits traits_of(NormKind kind) {
  switch (kind) {
    case NormKind::none:
      return {.layer = false,
              .statistics = StatisticsOver::nothing,
              .subtracts_mean = false,
              .has_beta = false,
              .absorbs_activation = false,
              .groups = ChannelGroups::one,
              .trains_affine = false,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
    case NormKind::batch:
    case NormKind::momentum:
    case NormKind::cross_iteration:
      return {.layer = true,
              .statistics = StatisticsOver::batch,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = true,
              .one_value = false,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
    case NormKind::mabn:
      return {.layer = true,
              .statistics = StatisticsOver::batch,
              .subtracts_mean = false,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = true,
              .one_value = false,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
    case NormKind::group:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::configured,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
    case NormKind::layer:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::one,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
    case NormKind::instance:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
    case NormKind::rms:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = false,
              .has_beta = false,
              .absorbs_activation = true,
              .groups = ChannelGroups::one,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
    case NormKind::frn:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = false,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::threshold};
    case NormKind::evonorm_s0:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = false,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::configured,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::swish};
    case NormKind::evonorm_b0:
      return {.layer = true,
              .statistics = StatisticsOver::batch,
              .subtracts_mean = false,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = true,
              .one_value = false,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::rational};
    case NormKind::switchable:
      return {.layer = true,
              .statistics = StatisticsOver::batch,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
    case NormKind::dyt:
      return {.layer = true,
              .statistics = StatisticsOver::nothing,
              .subtracts_mean = false,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::one,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::alpha,
              .activation = InnerActivation::none};
    case NormKind::derf:
      return {.layer = true,
              .statistics = StatisticsOver::nothing,
              .subtracts_mean = false,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::one,
              .trains_affine = true,
              .one_value = true,
              .scalars = LayerScalars::alpha_and_shift,
              .activation = InnerActivation::none};
    case NormKind::frozen:
      return {.layer = true,
              .statistics = StatisticsOver::running,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = false,
              .one_value = true,
              .scalars = LayerScalars::none,
              .activation = InnerActivation::none};
  }
  __builtin_unreachable();
}

}  // namespace syncnorm
