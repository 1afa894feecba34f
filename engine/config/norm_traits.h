// Traits of the kinds of norms, which the rest of the program asks for. A new kind does not compile
// until every question is answered: the switch is exhaustive (-Werror=switch), and an answer has no
// default.
#pragma once

namespace syncnorm {

enum class NormKind { none, batch, group, layer, instance, rms, frozen };

template <class T>
class Answer {
 public:
  constexpr Answer(T value) : value_(value) {}
  constexpr operator T() const { return value_; }

 private:
  T value_;
};

/// The values that mean and deviation are taken over.
enum class StatisticsOver {
  nothing,
  batch,    // all samples of the replicas that share statistics
  running,  // they are constants, from a checkpoint
  sample,
};

/// How many groups of channels have statistics of their own.
enum class ChannelGroups { one, configured, each };  // norm.groups; every channel

struct NormTraits {
  Answer<bool> layer;  // there is a layer at all
  Answer<StatisticsOver> statistics;
  Answer<bool> subtracts_mean;      // makes a bias before it useless, where it has a β
  Answer<bool> has_beta;            // where norm.affine gives it parameters
  Answer<bool> absorbs_activation;  // can take in the residual add and the ReLU behind it
  Answer<ChannelGroups> groups;
  Answer<bool> trains_affine;  // γ and β are trained, where norm.affine gives it them
  Answer<bool> one_value;      // is defined where a channel has a single value
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
              .one_value = true};
    case NormKind::batch:
      return {.layer = true,
              .statistics = StatisticsOver::batch,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = true,
              .one_value = false};
    case NormKind::group:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::configured,
              .trains_affine = true,
              .one_value = true};
    case NormKind::layer:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::one,
              .trains_affine = true,
              .one_value = true};
    case NormKind::instance:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = true,
              .one_value = true};
    case NormKind::rms:
      return {.layer = true,
              .statistics = StatisticsOver::sample,
              .subtracts_mean = false,
              .has_beta = false,
              .absorbs_activation = true,
              .groups = ChannelGroups::one,
              .trains_affine = true,
              .one_value = true};
    case NormKind::frozen:
      return {.layer = true,
              .statistics = StatisticsOver::running,
              .subtracts_mean = true,
              .has_beta = true,
              .absorbs_activation = true,
              .groups = ChannelGroups::each,
              .trains_affine = false,
              .one_value = true};
  }
  __builtin_unreachable();
}

}  // namespace syncnorm
