// The table of all keys, section by section, and the few rows that are unlike the others.
//
// Defaults are those of a default-constructed Experiment (experiment.h) and are not repeated here.
#include "engine/config/schema.h"

#include <algorithm>
#include <cctype>
#include <iterator>

#include "base/error.h"
#include "engine/config/layers.h"
#include "engine/config/listen_address.h"
#include "engine/config/schema_rows.h"

namespace syncnorm::config {

namespace {

constexpr NumberRange kPositive{0.0, std::numeric_limits<double>::infinity(), false, true};
constexpr NumberRange kNotNegative{};
constexpr NumberRange kBelowOne{0.0, 1.0, true, false};
constexpr NumberRange kUpToOne{0.0, 1.0, true, true};
constexpr NumberRange kFactor{0.0, 1.0, false, true};

constexpr std::uint64_t kMostReplicas = 65536;
constexpr std::uint64_t kLargestSide = 4096;  // pixels, channels
constexpr std::uint64_t kWidestLayer = 1 << 20;

using Rows = std::vector<SchemaKey>;

void append(Rows& rows, Rows more) {
  rows.insert(rows.end(), std::make_move_iterator(more.begin()),
              std::make_move_iterator(more.end()));
}

SchemaKey name_key() {
  return {"name", "letters, digits, `.`, `_`, `-`",
          "what this experiment is called; part of the run folder's default",
          [](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto value = read_name(node, field);
            if (value) draft.experiment.name = *value;
            return value.has_value();
          },
          [](const Draft& draft) { return scalar_text(draft.experiment.name); }};
}

SchemaKey global_batch_key() {
  const IntegerRange range = at_least(1);
  return {"global_batch", describe(range),
          "instead of `replicas`: replicas = global_batch / batch_per_replica",
          [=](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto value = read_integer(node, field, range);
            if (value) draft.global_batch = static_cast<int>(*value);
            return value.has_value();
          },
          // The resolved configuration says `replicas`; saying both would be an error.
          [](const Draft&) { return std::string(); }};
}

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

SchemaKey run_dir_key() {
  return {"run_dir", "path", "folder that the run is written to; default: `runs/<name>`",
          [](const ConfigNode& node, const Field& field, Draft& draft) {
            const auto value = read_path(node, field);
            if (value) draft.experiment.run_dir = *value;
            return value.has_value();
          },
          [](const Draft& draft) {
            const std::string& given = draft.experiment.run_dir;
            return scalar_text(given.empty() ? "runs/" + draft.experiment.name : given);
          }};
}

Rows top_level_rows() {
  return {
      name_key(),
      integer_key(
          "seed", [](auto& e) -> auto& { return e.seed; },
          between(0, std::numeric_limits<std::uint64_t>::max()),
          "every random number of the run follows from it"),
      choice_key(
          "device", [](auto& e) -> auto& { return e.device; },
          "what every rank computes on; cuda: one GPU per rank"),
      switch_key(
          "allow_shared_gpu", [](auto& e) -> auto& { return e.allow_shared_gpu; },
          "several ranks on one GPU, for tests: right and slow"),
      choice_key(
          "precision", [](auto& e) -> auto& { return e.precision; },
          "of activations and convolutions; parameters, statistics, sums and linear layers are "
          "f32. "
          "bf16 needs a processor with AVX512_BF16 or AMX; bf16_emulated gives bf16's accuracy "
          "without one, slowly"),
      choice_key(
          "reduction", [](auto& e) -> auto& { return e.reduction; },
          "reproducible: the bits do not depend on the number of ranks; fastest: they may"),
      integer_key(
          "replicas", [](auto& e) -> auto& { return e.replicas; }, between(1, kMostReplicas),
          "logical data-parallel workers, spread over however many ranks are launched"),
      global_batch_key(),
      integer_key(
          "batch_per_replica", [](auto& e) -> auto& { return e.batch_per_replica; },
          between(1, 1 << 20), "samples that one replica trains on in a step"),
      optional_integer_key(
          "epochs", [](auto& e) -> auto& { return e.epochs; }, at_least(1),
          "passes over the training samples"),
      optional_integer_key(
          "steps", [](auto& e) -> auto& { return e.steps; }, at_least(1),
          "instead of `epochs`: how many updates to train"),
      switch_key(
          "drop_last", [](auto& e) -> auto& { return e.drop_last; },
          "leave out an epoch's last, smaller global batch; false: train it too"),
  };
}

Rows data_rows() {
  return {
      word_key(
          "data.dataset", [](auto& e) -> auto& { return e.data.dataset; }, kDatasets,
          "synthetic needs no files: labelled textures, made from the seed; image_folder and "
          "packed: "
          "see Images on disk"),
      path_key(
          "data.path", [](auto& e) -> auto& { return e.data.path; }, "`auto`, or a path",
          "folder with the dataset's files; auto: the usual places"),
      switch_key(
          "data.shuffle", [](auto& e) -> auto& { return e.data.shuffle; },
          "a new order every epoch, by seed; false: the order of the files"),
      choice_list_key(
          "data.augment", [](auto& e) -> auto& { return e.data.augment; },
          "random changes of the training images, in this order; random_resized_crop and "
          "color_jitter: of images on disk"),
      integer_key(
          "data.crop_padding", [](auto& e) -> auto& { return e.data.crop_padding; },
          between(0, kLargestSide), "random_crop: zeros around the image, pixels"),
      integer_key(
          "data.cutout_size", [](auto& e) -> auto& { return e.data.cutout_size; },
          between(1, kLargestSide), "cutout: side of the blank square, pixels"),
      integer_key(
          "data.limit", [](auto& e) -> auto& { return e.data.limit; }, at_least(0),
          "train on the first so many samples only; 0: on all"),
      integer_key(
          "data.validation", [](auto& e) -> auto& { return e.data.validation; }, at_least(0),
          "training samples held out, by seed, as the split `validation`"),
      integer_key(
          "data.prefetch", [](auto& e) -> auto& { return e.data.prefetch; }, between(1, 1024),
          "batches that the loader prepares ahead"),
      integer_key(
          "data.synthetic.classes", [](auto& e) -> auto& { return e.data.synthetic.classes; },
          between(2, 65536), "number of labels"),
      integer_key(
          "data.synthetic.height", [](auto& e) -> auto& { return e.data.synthetic.height; },
          between(1, kLargestSide), "of an image, pixels"),
      integer_key(
          "data.synthetic.width", [](auto& e) -> auto& { return e.data.synthetic.width; },
          between(1, kLargestSide), "of an image, pixels"),
      integer_key(
          "data.synthetic.channels", [](auto& e) -> auto& { return e.data.synthetic.channels; },
          between(1, kLargestSide), "of an image"),
      integer_key(
          "data.synthetic.train_samples",
          [](auto& e) -> auto& { return e.data.synthetic.train_samples; }, at_least(1),
          "images in the training split"),
      integer_key(
          "data.synthetic.test_samples",
          [](auto& e) -> auto& { return e.data.synthetic.test_samples; }, at_least(1),
          "images in the test split"),
  };
}

Rows images_rows() {
  constexpr std::size_t kColors = 3;
  return {
      integer_key(
          "data.images.height", [](auto& e) -> auto& { return e.data.images.height; },
          between(1, kLargestSide), "of what the model sees, pixels"),
      integer_key(
          "data.images.width", [](auto& e) -> auto& { return e.data.images.width; },
          between(1, kLargestSide), "of what the model sees, pixels"),
      integer_key(
          "data.images.resize", [](auto& e) -> auto& { return e.data.images.resize; },
          between(1, kLargestSide),
          "the shorter side before the center crop, pixels; at least height and width"),
      number_key(
          "data.images.crop_area", [](auto& e) -> auto& { return e.data.images.crop_area; },
          kFactor, "random_resized_crop: smallest share of the image's area; the largest is 1"),
      number_key(
          "data.images.brightness", [](auto& e) -> auto& { return e.data.images.brightness; },
          kUpToOne, "color_jitter: farthest factor from 1, either way"),
      number_key(
          "data.images.contrast", [](auto& e) -> auto& { return e.data.images.contrast; }, kUpToOne,
          "color_jitter: farthest factor from 1, either way"),
      number_key(
          "data.images.saturation", [](auto& e) -> auto& { return e.data.images.saturation; },
          kUpToOne, "color_jitter: farthest factor from 1, either way"),
      number_list_key(
          "data.images.mean", [](auto& e) -> auto& { return e.data.images.mean; }, kUpToOne,
          kColors, "of red, green and blue in [0, 1], subtracted; the default is ImageNet's"),
      number_list_key(
          "data.images.std", [](auto& e) -> auto& { return e.data.images.std; }, kFactor, kColors,
          "standard deviation of red, green and blue, divided by"),
      integer_key(
          "data.images.threads", [](auto& e) -> auto& { return e.data.images.threads; },
          between(1, 256), "that decode ahead of the step, on every rank"),
      choice_key(
          "data.images.corrupt", [](auto& e) -> auto& { return e.data.images.corrupt; },
          "what an image that cannot be decoded does: stop the run, or be skipped"),
  };
}

Rows evaluation_rows() {
  return {
      integer_key(
          "evaluation.every_epochs", [](auto& e) -> auto& { return e.evaluation.every_epochs; },
          at_least(0), "epochs between evaluations; 0: not by epoch"),
      integer_key(
          "evaluation.every_steps", [](auto& e) -> auto& { return e.evaluation.every_steps; },
          at_least(0), "updates between evaluations; 0: not by step"),
  };
}

Rows model_rows() {
  return {
      word_key(
          "model.architecture", [](auto& e) -> auto& { return e.model.architecture; },
          kArchitectures, "a network of the zoo; not read when `layers` is given"),
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

Rows optimizer_rows() {
  return {
      choice_key(
          "optimizer.kind", [](auto& e) -> auto& { return e.optimizer.kind; },
          "how gradients become updates"),
      number_key(
          "optimizer.lr", [](auto& e) -> auto& { return e.optimizer.lr; }, kNotNegative,
          "learning rate after warm-up"),
      number_key(
          "optimizer.momentum", [](auto& e) -> auto& { return e.optimizer.momentum; }, kBelowOne,
          "sgd: share of the last update that is kept"),
      switch_key(
          "optimizer.nesterov", [](auto& e) -> auto& { return e.optimizer.nesterov; },
          "sgd: Nesterov's form of momentum"),
      number_key(
          "optimizer.weight_decay", [](auto& e) -> auto& { return e.optimizer.weight_decay; },
          kNotNegative, "pull of the weights to zero; adamw: decoupled from the gradient"),
      switch_key(
          "optimizer.decay_norm_and_bias",
          [](auto& e) -> auto& { return e.optimizer.decay_norm_and_bias; },
          "weight decay acts on γ, β, biases and the gains g of normalized weights too"),
      number_key(
          "optimizer.beta1", [](auto& e) -> auto& { return e.optimizer.beta1; }, kBelowOne,
          "adam, adamw: decay of the mean of gradients"),
      number_key(
          "optimizer.beta2", [](auto& e) -> auto& { return e.optimizer.beta2; }, kBelowOne,
          "adam, adamw: decay of the mean of squared gradients"),
      number_key(
          "optimizer.eps", [](auto& e) -> auto& { return e.optimizer.eps; }, kPositive,
          "adam, adamw: added to the denominator"),
      number_key(
          "optimizer.clip_norm", [](auto& e) -> auto& { return e.optimizer.clip_norm; },
          kNotNegative, "longest gradient, as the 2-norm over all parameters; 0: no clipping"),
      integer_key(
          "optimizer.lr_reference_batch",
          [](auto& e) -> auto& { return e.optimizer.lr_reference_batch; }, at_least(0),
          "lr is multiplied by global batch / this; 0: lr is taken as it is"),
  };
}

Rows schedule_rows() {
  return {
      choice_key(
          "schedule.kind", [](auto& e) -> auto& { return e.schedule.kind; },
          "how the learning rate goes on after warm-up"),
      integer_key(
          "schedule.warmup_steps", [](auto& e) -> auto& { return e.schedule.warmup_steps; },
          at_least(0), "updates over which the rate rises to lr; 0: no warm-up"),
      integer_list_key(
          "schedule.milestones", [](auto& e) -> auto& { return e.schedule.milestones; },
          at_least(1), "step: updates after which the rate is multiplied by gamma, increasing"),
      number_key(
          "schedule.gamma", [](auto& e) -> auto& { return e.schedule.gamma; }, kFactor,
          "step: factor at every milestone"),
      number_key(
          "schedule.power", [](auto& e) -> auto& { return e.schedule.power; }, kPositive,
          "polynomial: exponent of the remaining share of training"),
      number_key(
          "schedule.final_lr", [](auto& e) -> auto& { return e.schedule.final_lr; }, kNotNegative,
          "cosine, polynomial: learning rate at the end"),
  };
}

Rows ending_rows() {
  return {
      number_key(
          "loss.label_smoothing", [](auto& e) -> auto& { return e.loss.label_smoothing; },
          kBelowOne, "probability that is spread over all classes"),
      integer_key(
          "checkpoint.every_steps", [](auto& e) -> auto& { return e.checkpoint.every_steps; },
          at_least(0), "updates between checkpoints; 0: not by step"),
      integer_key(
          "checkpoint.every_epochs", [](auto& e) -> auto& { return e.checkpoint.every_epochs; },
          at_least(0), "epochs between checkpoints; 0: not by epoch"),
      integer_key(
          "checkpoint.keep", [](auto& e) -> auto& { return e.checkpoint.keep; }, at_least(2),
          "newest checkpoints that stay; the first and the last of a run always do"),
      number_key(
          "fault.deadline", [](auto& e) -> auto& { return e.fault.deadline; },
          NumberRange{0.0, 1e6, false, true},
          "seconds without progress of a rank before the job is ended"),
      integer_key(
          "fault.check_every_steps", [](auto& e) -> auto& { return e.fault.check_every_steps; },
          at_least(0),
          "updates between comparisons of all ranks' parameters, bit by bit; 0: only before "
          "checkpoints"),
      run_dir_key(),
  };
}

/// One address, or a list of them.
SchemaKey listen_key() {
  return {"metrics.listen", "address, or list of addresses",
          "numeric `host:port` of the exporter, one per node; port 0: a free one; no TLS",
          [](const ConfigNode& node, const Field& field, Draft& draft) {
            const bool is_list = node.kind == NodeKind::list;
            std::vector<std::string> addresses;
            bool good = true;
            for (std::size_t i = 0; i < (is_list ? node.items.size() : 1); ++i) {
              const ConfigNode& entry = is_list ? node.items[i] : node;
              const Field item{is_list ? fmt::format("{}[{}]", field.key, i) : field.key,
                               field.problems};
              const auto text = read_text(entry, item);
              good = good && text;
              if (!text) continue;
              try {
                addresses.push_back(parse_listen_address(*text).text());
              } catch (const InputError& error) {
                item.fail(entry, error.what());
                good = false;
              }
            }
            if (good && addresses.empty())
              field.fail(node, "the list is empty; give an address, as 127.0.0.1:9464");
            good = good && !addresses.empty();
            if (good) draft.experiment.metrics.listen = addresses;
            return good;
          },
          [](const Draft& draft) {
            std::vector<std::string> texts;
            for (const std::string& address : draft.experiment.metrics.listen)
              texts.push_back(scalar_text(address));
            return texts.size() == 1 ? texts[0] : fmt::format("[{}]", fmt::join(texts, ", "));
          }};
}

Rows metrics_rows() {
  return {
      switch_key(
          "metrics.prometheus", [](auto& e) -> auto& { return e.metrics.prometheus; },
          "serve `/metrics` for Prometheus while the run lasts"),
      listen_key(),
      switch_key(
          "metrics.required", [](auto& e) -> auto& { return e.metrics.required; },
          "an exporter that cannot listen ends the run; false: a warning"),
      number_key(
          "metrics.linger", [](auto& e) -> auto& { return e.metrics.linger; },
          NumberRange{0.0, 3600.0, true, true},
          "seconds that a run which was scraped waits at its end for one scrape more, so that its "
          "outcome is seen; never when it was stopped"),
      optional_text_key(
          "metrics.user", [](auto& e) -> auto& { return e.metrics.user; }, "name, or `\"\"`",
          "who may read `/metrics`, by basic authentication; empty: everybody"),
      optional_path_key(
          "metrics.password_file", [](auto& e) -> auto& { return e.metrics.password_file; },
          "file with the password of `user` in its first line, of mode 0600"),
      optional_path_key(
          "metrics.file_sd_dir", [](auto& e) -> auto& { return e.metrics.file_sd_dir; },
          "folder for a `file_sd` target file, which is there while the run is"),
      optional_path_key(
          "metrics.textfile", [](auto& e) -> auto& { return e.metrics.textfile; },
          "file ending in `.prom` for node_exporter, written when the run ends"),
      optional_text_key(
          "metrics.pushgateway", [](auto& e) -> auto& { return e.metrics.pushgateway; },
          "`http://host:port`, or `\"\"`", "Pushgateway that is told how the run ended"),
      switch_key(
          "metrics.layers", [](auto& e) -> auto& { return e.metrics.layers; },
          "batch: also the statistics of every normalization layer"),
      integer_key(
          "metrics.layer_limit", [](auto& e) -> auto& { return e.metrics.layer_limit; },
          between(1, 1000), "layers: how many are shown, from the first on"),
      integer_key(
          "metrics.every_steps", [](auto& e) -> auto& { return e.metrics.every_steps; },
          at_least(1), "updates between samples of the layers and of the gradient's norm"),
      switch_key(
          "metrics.tensorboard", [](auto& e) -> auto& { return e.metrics.tensorboard; },
          "write TensorBoard event files into `run_dir`"),
  };
}

Rows probes_rows() {
  return {
      integer_key(
          "probes.every_steps", [](auto& e) -> auto& { return e.probes.every_steps; }, at_least(0),
          "updates between measurements; 0: none"),
      switch_key(
          "probes.activations", [](auto& e) -> auto& { return e.probes.activations; },
          "distribution of the input of every conv and linear layer, and its shift by the update; "
          "two forward passes"),
      switch_key(
          "probes.gradients", [](auto& e) -> auto& { return e.probes.gradients; },
          "norm of the gradient and size of the update, by layer"),
      switch_key(
          "probes.landscape", [](auto& e) -> auto& { return e.probes.landscape; },
          "loss and gradient along the gradient; a forward and backward pass per point"),
      number_key(
          "probes.landscape_from", [](auto& e) -> auto& { return e.probes.landscape_from; },
          kPositive, "landscape: first step along the gradient, as a learning rate"),
      number_key(
          "probes.landscape_to", [](auto& e) -> auto& { return e.probes.landscape_to; }, kPositive,
          "landscape: last step along the gradient"),
      integer_key(
          "probes.landscape_points", [](auto& e) -> auto& { return e.probes.landscape_points; },
          between(1, 1000), "landscape: points from the first to the last"),
      switch_key(
          "probes.covariate_shift", [](auto& e) -> auto& { return e.probes.covariate_shift; },
          "change of every layer's gradient by the update of the layers before it; a forward and "
          "backward pass per layer"),
      switch_key(
          "probes.signal_to_noise", [](auto& e) -> auto& { return e.probes.signal_to_noise; },
          "signal and noise of every layer's gradient, from two halves of the batch; two forward "
          "and backward passes"),
      switch_key(
          "probes.replica_spread", [](auto& e) -> auto& { return e.probes.replica_spread; },
          "how far the statistics of replicas lie from those of all, at the input of every norm; a "
          "forward pass, or none with `activations`"),
  };
}

}  // namespace

Schema make_schema() {
  Schema schema;
  schema.sections = {
      {"", "The experiment as a whole."},
      {"data", "What is trained on."},
      {"data.synthetic", "The synthetic dataset."},
      {"data.images", "Images on disk: the datasets image_folder and packed."},
      {"evaluation", "When the model is tested; at the end it always is."},
      {"model", "The network."},
      {"norm", "The normalization, which the experiment is about."},
      {"optimizer", "How weights are updated."},
      {"schedule", "How the learning rate changes."},
      {"loss", "Softmax cross-entropy."},
      {"checkpoint", "When the state is saved; at step 0 and at the end it always is."},
      {"fault", "What happens when a rank is lost."},
      {"metrics", "Who may watch the run."},
      {"probes", "What is measured of training itself, into metrics.jsonl and the report."},
  };
  for (Rows (*rows)() :
       {top_level_rows, data_rows, images_rows, evaluation_rows, model_rows, norm_rows,
        optimizer_rows, schedule_rows, metrics_rows, probes_rows, ending_rows}) {
    append(schema.keys, rows());
  }
  return schema;
}

const SchemaKey* Schema::find_key(const std::string& path) const {
  const auto found = std::find_if(keys.begin(), keys.end(),
                                  [&](const SchemaKey& key) { return key.path == path; });
  return found == keys.end() ? nullptr : &*found;
}

bool Schema::is_section(const std::string& path) const {
  return std::any_of(sections.begin(), sections.end(), [&](const SchemaSection& section) {
    return section.path == path && !path.empty();
  });
}

std::vector<std::string> Schema::names_in(const std::string& section) const {
  std::vector<std::string> names;
  for (const SchemaKey& key : keys) {
    if (section_of(key.path) == section) names.push_back(leaf_of(key.path));
  }
  for (const SchemaSection& inner : sections) {
    if (!inner.path.empty() && section_of(inner.path) == section) {
      names.push_back(leaf_of(inner.path));
    }
  }
  return names;
}

std::string exclusive_partner(const std::string& path) {
  if (path == "epochs") return "steps";
  if (path == "steps") return "epochs";
  if (path == "replicas") return "global_batch";
  if (path == "global_batch") return "replicas";
  return "";
}

std::vector<NormShortForm> norm_short_forms() {
  return {{"bn", "batch", "1"},     {"syncbn", "batch", "all"}, {"gn", "group", ""},
          {"ln", "layer", ""},      {"in", "instance", ""},     {"rms", "rms", ""},
          {"frozen", "frozen", ""}, {"none", "none", ""}};
}

std::string leaf_of(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

std::string section_of(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string::npos ? "" : path.substr(0, dot);
}

}  // namespace syncnorm::config
