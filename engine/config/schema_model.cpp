// Keys of the network and its normalization.
#include "engine/config/schema_sections.h"

#include <fmt/format.h>

#include "engine/config/layers.h"
#include "engine/config/listen_address.h"
#include "engine/config/names.h"
#include "engine/config/paths.h"
#include "engine/config/run_name.h"

namespace syncnorm::config {

namespace {

SchemaKey synced_replicas_key() {
  const IntegerRange range = between(1, kMostReplicas);
  return {"norm.synced_replicas", "`all`, or " + describe(range),
          "batch: how many replicas share statistics; 1 is per-device BatchNorm, `all` SyncBN; "
          "must divide `replicas`",
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
          "a network of the zoo; not read when `layers` is given"),
      layers_key(),
      integer_list_key(
          "model.hidden", [](auto& e) -> auto& { return e.model.hidden; }, between(1, kWidestLayer),
          "mlp: width of each hidden layer"),
      choice_key(
          "model.activation", [](auto& e) -> auto& { return e.model.activation; },
          "the nonlinearity of a network of the zoo"),
      choice_key(
          "model.norm_position", [](auto& e) -> auto& { return e.model.norm_position; },
          "mlp, convnet, lenet, vgg: where the normalization stands"),
      choice_key(
          "model.initialization", [](auto& e) -> auto& { return e.model.initialization; },
          "distribution of the first weights"),
      number_key(
          "model.initialization_std", [](auto& e) -> auto& { return e.model.initialization_std; },
          kPositive, "gaussian: standard deviation of the first weights"),
      switch_key(
          "model.zero_gamma", [](auto& e) -> auto& { return e.model.zero_gamma; },
          "ResNets: begin with γ = 0 in the last norm of every residual block"),
      number_key(
          "model.dropout", [](auto& e) -> auto& { return e.model.dropout; }, kBelowOne,
          "share of the values that is dropped before the classifier; 0: no dropout"),
      choice_key(
          "model.dropout_kind", [](auto& e) -> auto& { return e.model.dropout_kind; },
          "what a dropped value becomes; plain: 0; alpha: selu's limit, which keeps mean and "
          "variance"),
  };
}

Rows norm_rows() {
  return {
      choice_key(
          "norm.kind", [](auto& e) -> auto& { return e.norm.kind; },
          "the normalization in every norm layer"),
      synced_replicas_key(),
      number_key(
          "norm.eps", [](auto& e) -> auto& { return e.norm.eps; }, kPositive,
          "added to the variance; rms: to the mean square"),
      number_key(
          "norm.momentum", [](auto& e) -> auto& { return e.norm.momentum; }, kUpToOne,
          "batch: weight of the new batch in the running statistics"),
      integer_key(
          "norm.groups", [](auto& e) -> auto& { return e.norm.groups; }, between(1, kWidestLayer),
          "group: groups of channels; must divide every layer's channels"),
      switch_key(
          "norm.affine", [](auto& e) -> auto& { return e.norm.affine; },
          "learn γ and β per channel; rms: γ alone"),
      choice_key(
          "norm.deviation", [](auto& e) -> auto& { return e.norm.deviation; },
          "batch: what is divided by: the standard, mean absolute or largest deviation"),
      switch_key(
          "norm.l1_correction", [](auto& e) -> auto& { return e.norm.l1_correction; },
          "deviation l1: times √(π/2), which makes it the standard deviation of normal values"),
      switch_key(
          "norm.renormalize", [](auto& e) -> auto& { return e.norm.renormalize; },
          "batch: batch renormalization, which draws the batch's statistics to the running ones"),
      number_key(
          "norm.r_max", [](auto& e) -> auto& { return e.norm.r_max; },
          NumberRange{1.0, std::numeric_limits<double>::infinity(), true, true},
          "renormalize: largest correction of the deviation, as a factor"),
      number_key(
          "norm.d_max", [](auto& e) -> auto& { return e.norm.d_max; }, kNotNegative,
          "renormalize: largest correction of the mean, in running deviations"),
      integer_key(
          "norm.renormalize_start", [](auto& e) -> auto& { return e.norm.renormalize_start; },
          at_least(0), "renormalize: updates before the first correction"),
      integer_key(
          "norm.renormalize_ramp", [](auto& e) -> auto& { return e.norm.renormalize_ramp; },
          at_least(0), "renormalize: updates over which the limits grow to r_max and d_max"),
      integer_key(
          "norm.precise_samples", [](auto& e) -> auto& { return e.norm.precise_samples; },
          at_least(0),
          "batch: training samples from which running statistics are taken anew before every "
          "evaluation; 0: the running average serves"),
      switch_key(
          "norm.noise", [](auto& e) -> auto& { return e.norm.noise; },
          "training: what every norm gives is multiplied and shifted at random, anew in every "
          "step; "
          "evaluations do what that does on average"),
      number_key(
          "norm.noise_mean", [](auto& e) -> auto& { return e.norm.noise_mean; }, kNotNegative,
          "noise: largest mean shift of a channel in a step, either way"),
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
          "how layers get their weights; normalized: conv and linear learn w = g·v/‖v‖ per output; "
          "standardized: conv filters get mean 0 and variance 1"),
      number_key(
          "norm.weights_eps", [](auto& e) -> auto& { return e.norm.weights_eps; }, kPositive,
          "standardized weights: added to the variance of a filter"),
  };
}

}  // namespace syncnorm::config
