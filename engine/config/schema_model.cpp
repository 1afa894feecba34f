// Keys of the network and its normalization.
#include "engine/config/schema_sections.h"

#include <fmt/format.h>

#include "engine/config/layers.h"
#include "engine/config/listen_address.h"
#include "engine/config/names.h"
#include "engine/config/norm_rules.h"
#include "engine/config/paths.h"
#include "engine/config/run_name.h"

namespace syncnorm::config {

namespace {

constexpr int kLongestWindow = 4096;  // updates, or pixels
constexpr int kWidestUnet = 4096, kDeepestUnet = 8;

SchemaKey synced_replicas_key() {
  const IntegerRange range = between(1, kMostReplicas);
  return {"norm.synced_replicas", "`all`, or " + describe(range),
          "batch, momentum, mabn, cross_iteration, evonorm_b0: how many replicas share statistics; "
          "1 is per-device "
          "BatchNorm, `all` "
          "SyncBN; must divide `replicas`",
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            if (node.kind == NodeKind::scalar && node.text == "all") {
              draft.experiment.norm.synced_replicas = 0;
              return true;
            }
            const bool is_word = node.kind == NodeKind::scalar && !node.text.empty() &&
                                 std::isalpha(static_cast<unsigned char>(node.text[0])) != 0;
            if (is_word) {
              field.fail(node, in_quotes(node.text) +
                                   " is not a count; give `all` or a number of "
                                   "replicas");
              return false;
            }
            const auto value = read_integer(node, field, range);
            if (value) draft.experiment.norm.synced_replicas = static_cast<int>(*value);
            return value.has_value();
          },
          [](const Draft& draft) {
            const int synced = draft.experiment.norm.synced_replicas;
            return synced == 0 ? std::string("all") : std::to_string(synced);
          }};
}

SchemaKey layers_key() {
  return {"model.layers", "list of layers",
          "the network, layer by layer, instead of a zoo architecture; see Layers",
          [](const ConfigNode& node, const Field& field, Draft& draft) {
            Problems found;
            const auto layers = read_layers(node, {field.key, &found});
            field.problems->add_all(found);
            if (layers) draft.experiment.model.layers = *layers;
            return found.empty();
          },
          [](const Draft& draft) {
            std::vector<std::string> texts;
            for (const LayerSpec& layer : draft.experiment.model.layers) {
              texts.push_back(layer_text(layer));
            }
            return fmt::format("[{}]", fmt::join(texts, ", "));
          }};
}

}  // namespace

Rows model_rows() {
  return {
      choice_key(
          "model.architecture", [](auto& e) -> auto& { return e.model.architecture; },
          "a network of the zoo; ignored when `layers` is given"),
      layers_key(),
      integer_list_key(
          "model.hidden", [](auto& e) -> auto& { return e.model.hidden; }, between(1, kWidestLayer),
          "mlp: width of each hidden layer"),
      integer_key(
          "model.width", [](auto& e) -> auto& { return e.model.width; }, between(1, kWidestUnet),
          "unet: channels of the first level; each level below has twice as many"),
      integer_key(
          "model.depth", [](auto& e) -> auto& { return e.model.depth; }, between(1, kDeepestUnet),
          "unet: how often images are halved; they have at least 2^depth pixels each way"),
      choice_key(
          "model.backbone", [](auto& e) -> auto& { return e.model.backbone; },
          "deeplabv3: the ResNet before the pyramid, whose last stages are dilated: maps have 1/8 "
          "of "
          "the images' height and width; resnet20, for small images: 1/2"),
      integer_key(
          "model.aspp_channels", [](auto& e) -> auto& { return e.model.aspp_channels; },
          between(1, kWidestLayer),
          "deeplabv3: channels of every branch of the pyramid; resnet20: 64 where it is not given"),
      integer_list_key(
          "model.aspp_rates", [](auto& e) -> auto& { return e.model.aspp_rates; },
          between(1, kLongestWindow),
          "deeplabv3: dilations of the branches of the pyramid, at most 6; resnet20: [2, 4, 6] "
          "where "
          "they are not given"),
      choice_key(
          "model.activation", [](auto& e) -> auto& { return e.model.activation; },
          "the nonlinearity of a network of the zoo"),
      choice_key(
          "model.norm_position", [](auto& e) -> auto& { return e.model.norm_position; },
          "mlp, convnet, lenet, vgg: normalize before or after the activation"),
      choice_key(
          "model.initialization", [](auto& e) -> auto& { return e.model.initialization; },
          "distribution of the initial weights"),
      number_key(
          "model.initialization_std", [](auto& e) -> auto& { return e.model.initialization_std; },
          kPositive, "gaussian: standard deviation of the initial weights"),
      switch_key(
          "model.zero_gamma", [](auto& e) -> auto& { return e.model.zero_gamma; },
          "ResNets, also those in deeplabv3 and linknet: initialize γ to 0 in the last norm of "
          "every "
          "residual block"),
      number_key(
          "model.dropout", [](auto& e) -> auto& { return e.model.dropout; }, kBelowOne,
          "probability that a value before the classifier is dropped; 0: no dropout; deeplabv3: "
          "behind "
          "the pyramid, 0.5 where it is not given"),
      choice_key(
          "model.dropout_kind", [](auto& e) -> auto& { return e.model.dropout_kind; },
          "value of what is dropped; plain: 0; alpha: selu's lower limit, which keeps mean and "
          "variance"),
      choice_key(
          "model.residual.kind", [](auto& e) -> auto& { return e.model.residual.kind; },
          "what a block adds to its shortcut; plain: its branch; skipinit, rezero: a "
          "learned factor, at first 0, times the branch; normalizer_free: alpha times that, in "
          "pre-activation blocks for networks without norms"),
      number_key(
          "model.residual.alpha", [](auto& e) -> auto& { return e.model.residual.alpha; },
          kPositive, "normalizer_free: standard deviation that each branch may add"),
  };
}

/// Prints nothing where channels_per_group applies.
SchemaKey groups_key() {
  SchemaKey key = integer_key(
      "norm.groups", [](auto& e) -> auto& { return e.norm.groups; }, between(1, kWidestLayer),
      "group, evonorm_s0: groups of channels; must divide every layer's channels");
  key.print = [print = key.print](const Draft& draft) {
    return draft.experiment.norm.channels_per_group > 0 ? std::string() : print(draft);
  };
  return key;
}

Rows norm_rows() {
  return {
      choice_key(
          "norm.kind", [](auto& e) -> auto& { return e.norm.kind; },
          "the normalization in every norm layer"),
      norm_layers_key(),
      synced_replicas_key(),
      number_key(
          "norm.eps", [](auto& e) -> auto& { return e.norm.eps; }, kPositive,
          "added to the variance (rms, frn, mabn: to the mean square); frn: 1e-6 where it is not "
          "given"),
      number_key(
          "norm.momentum", [](auto& e) -> auto& { return e.norm.momentum; }, kUpToOne,
          "batch, momentum, mabn, cross_iteration, evonorm_b0: weight of the new batch in the "
          "running statistics; "
          "mabn: "
          "0.02 where it is not given; momentum: 1 − (1 − "
          "momentum)^(m/m0) for sets of m images, fewer than m0 = momentum_images"),
      groups_key(),
      optional_integer_key(
          "norm.channels_per_group", [](auto& e) -> auto& { return e.norm.channels_per_group; },
          between(1, kWidestLayer),
          "group, evonorm_s0: channels of a group, instead of groups; must divide every layer's "
          "channels"),
      choice_key(
          "norm.frozen", [](auto& e) -> auto& { return e.norm.frozen; },
          "frozen: what stays as it was loaded; statistics: γ and β are trained; affine: γ and β "
          "stay, statistics are the batch's, as with kind: batch"),
      switch_key(
          "norm.tlu", [](auto& e) -> auto& { return e.norm.tlu; },
          "frn: end with max(y, τ), whose thresholds τ are learned, in place of the activation "
          "behind the norm"),
      choice_key(
          "norm.over", [](auto& e) -> auto& { return e.norm.over; },
          "layer: the values that share a mean and deviation; sample: all of a sample; channels: "
          "those of a pixel, as in ConvNeXt"),
      switch_key(
          "norm.affine", [](auto& e) -> auto& { return e.norm.affine; },
          "learn γ and β per channel; rms: γ alone; dyt, derf, frn, evonorm_s0, evonorm_b0: their "
          "other "
          "parameters are learned anyway"),
      choice_key(
          "norm.deviation", [](auto& e) -> auto& { return e.norm.deviation; },
          "batch: the deviation that divides; l2: standard deviation; l1: mean absolute deviation; "
          "linf: largest deviation"),
      switch_key(
          "norm.l1_correction", [](auto& e) -> auto& { return e.norm.l1_correction; },
          "deviation l1: multiply by √(π/2), which gives the standard deviation of normally "
          "distributed values"),
      switch_key(
          "norm.renormalize", [](auto& e) -> auto& { return e.norm.renormalize; },
          "batch: Batch Renormalization, which corrects the batch's statistics towards the running "
          "ones"),
      number_key(
          "norm.r_max", [](auto& e) -> auto& { return e.norm.r_max; },
          NumberRange{1.0, std::numeric_limits<double>::infinity(), true, true},
          "renormalize, mabn: limit of the factor r that corrects the deviation; mabn: 5 where it "
          "is not "
          "given"),
      number_key(
          "norm.d_max", [](auto& e) -> auto& { return e.norm.d_max; }, kNotNegative,
          "renormalize: limit of the shift d that corrects the mean, in running deviations"),
      integer_key(
          "norm.renormalize_start", [](auto& e) -> auto& { return e.norm.renormalize_start; },
          at_least(0),
          "renormalize, mabn: updates before the first correction; mabn: 1000 where it is not "
          "given"),
      integer_key(
          "norm.renormalize_ramp", [](auto& e) -> auto& { return e.norm.renormalize_ramp; },
          at_least(0), "renormalize: updates over which the limits grow to r_max and d_max"),
      integer_key(
          "norm.momentum_images", [](auto& e) -> auto& { return e.norm.momentum_images; },
          at_least(1),
          "momentum: images m0 in an ideal set; statistics over fewer are averaged over updates"),
      integer_key(
          "norm.momentum_ramp", [](auto& e) -> auto& { return e.norm.momentum_ramp; }, at_least(0),
          "momentum: updates over which the weight λ of earlier updates rises from 0 to 1 − m/m0; "
          "0: the whole training"),
      integer_key(
          "norm.window", [](auto& e) -> auto& { return e.norm.window; }, between(1, kLongestWindow),
          "mabn, cross_iteration: updates whose statistics are taken together, this one included; "
          "cross_iteration: 8 where it is not given"),
      integer_key(
          "norm.window_start", [](auto& e) -> auto& { return e.norm.window_start; }, at_least(0),
          "mabn, cross_iteration: the first update that uses earlier ones; those before use their "
          "batch's statistics alone"),
      integer_key(
          "norm.precise_samples", [](auto& e) -> auto& { return e.norm.precise_samples; },
          at_least(0),
          "batch, momentum, cross_iteration, evonorm_b0: recompute the running statistics from "
          "this many training "
          "samples "
          "before every "
          "evaluation; 0: use the running averages"),
      switch_key(
          "norm.noise", [](auto& e) -> auto& { return e.norm.noise; },
          "training: multiply and shift the output of every norm by new random numbers in every "
          "step; evaluation uses their mean"),
      number_key(
          "norm.noise_mean", [](auto& e) -> auto& { return e.norm.noise_mean; }, kNotNegative,
          "noise: largest mean shift of a channel in a step, up or down"),
      number_key(
          "norm.noise_scale", [](auto& e) -> auto& { return e.norm.noise_scale; },
          NumberRange{1.0, std::numeric_limits<double>::infinity(), true, true},
          "noise: largest mean factor of a channel in a step; the smallest is 1"),
      number_key(
          "norm.noise_sample_mean", [](auto& e) -> auto& { return e.norm.noise_sample_mean; },
          kNotNegative, "noise: largest distance of a sample's shift from its channel's"),
      number_key(
          "norm.noise_sample_scale", [](auto& e) -> auto& { return e.norm.noise_sample_scale; },
          kNotNegative, "noise: standard deviation of a sample's factor about its channel's"),
      choice_key(
          "norm.weights", [](auto& e) -> auto& { return e.norm.weights; },
          "parameterization of weights; normalized: conv and linear layers learn w = g·v/‖v‖ per "
          "output; standardized: conv filters are shifted and scaled to mean 0 and variance 1; "
          "scaled_standardized: to mean 0, variance 1/fan-in and a learned gain; "
          "centered: they are shifted to mean 0; those of transposed convolutions stay as they "
          "are"),
      number_key(
          "norm.weights_eps", [](auto& e) -> auto& { return e.norm.weights_eps; }, kPositive,
          "standardized weights: added to the variance of a filter; scaled_standardized: the "
          "smallest "
          "sum of squares of a centered filter"),
  };
}

}  // namespace syncnorm::config
