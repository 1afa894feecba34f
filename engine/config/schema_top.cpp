// Keys of the top level, the optimizer, its schedule, the loss, checkpoints and faults.
#include "engine/config/schema_sections.h"

#include <fmt/format.h>

#include "engine/config/layers.h"
#include "engine/config/listen_address.h"
#include "engine/config/names.h"
#include "engine/config/paths.h"
#include "engine/config/run_name.h"

namespace syncnorm::config {

namespace {

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

}  // namespace

Rows top_level_rows() {
  return {
      free_on_resume(name_key()),
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
      free_on_resume(optional_integer_key(
          "epochs", [](auto& e) -> auto& { return e.epochs; }, at_least(1),
          "passes over the training samples")),
      free_on_resume(optional_integer_key(
          "steps", [](auto& e) -> auto& { return e.steps; }, at_least(1),
          "instead of `epochs`: how many updates to train")),
      switch_key(
          "drop_last", [](auto& e) -> auto& { return e.drop_last; },
          "leave out an epoch's last, smaller global batch; false: train it too"),
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
      free_on_resume(integer_key(
          "checkpoint.every_steps", [](auto& e) -> auto& { return e.checkpoint.every_steps; },
          at_least(0), "updates between checkpoints; 0: not by step")),
      free_on_resume(integer_key(
          "checkpoint.every_epochs", [](auto& e) -> auto& { return e.checkpoint.every_epochs; },
          at_least(0), "epochs between checkpoints; 0: not by epoch")),
      free_on_resume(integer_key(
          "checkpoint.keep", [](auto& e) -> auto& { return e.checkpoint.keep; }, at_least(2),
          "newest checkpoints that stay; the first and the last of a run always do")),
      free_on_resume(number_key(
          "fault.deadline", [](auto& e) -> auto& { return e.fault.deadline; },
          NumberRange{0.0, 1e6, false, true},
          "seconds without progress of a rank before the job is ended")),
      free_on_resume(integer_key(
          "fault.check_every_steps", [](auto& e) -> auto& { return e.fault.check_every_steps; },
          at_least(0),
          "updates between comparisons of all ranks' parameters, bit by bit; 0: only before "
          "checkpoints")),
      free_on_resume(run_dir_key()),
  };
}

}  // namespace syncnorm::config
