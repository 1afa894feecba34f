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
          "name of the experiment; the run folder is runs/<name> unless `run_dir` is given",
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
          // Not printed: the resolved configuration contains `replicas`, and both would be an
          // error.
          [](const Draft&) { return std::string(); }};
}

SchemaKey run_dir_key() {
  return {"run_dir", "path", "folder of the run's files; default: `runs/<name>`",
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
          "seed of every random number in the run"),
      free_on_resume(choice_key(
          "device", [](auto& e) -> auto& { return e.device; },
          "device that each rank computes on; cuda: one GPU per rank. A run may resume on another "
          "device; its bits follow the device from there on")),
      free_on_resume(switch_key(
          "allow_shared_gpu", [](auto& e) -> auto& { return e.allow_shared_gpu; },
          "let several ranks share a GPU, for tests: correct but slow")),
      choice_key(
          "precision", [](auto& e) -> auto& { return e.precision; },
          "precision of activations and convolutions; parameters, statistics, sums and linear "
          "layers are always f32. "
          "bf16 needs a processor with AVX512_BF16 or AMX; bf16_emulated gives bf16's accuracy "
          "without one, slowly"),
      choice_key(
          "reduction", [](auto& e) -> auto& { return e.reduction; },
          "reproducible: the bits do not depend on the number of ranks; fastest: they may"),
      integer_key(
          "replicas", [](auto& e) -> auto& { return e.replicas; }, between(1, kMostReplicas),
          "logical data-parallel workers, spread over the ranks that are launched"),
      global_batch_key(),
      integer_key(
          "batch_per_replica", [](auto& e) -> auto& { return e.batch_per_replica; },
          between(1, 1 << 20), "samples per replica and step"),
      free_on_resume(optional_integer_key(
          "epochs", [](auto& e) -> auto& { return e.epochs; }, at_least(1),
          "passes over the training samples")),
      free_on_resume(optional_integer_key(
          "steps", [](auto& e) -> auto& { return e.steps; }, at_least(1),
          "instead of `epochs`: number of updates")),
      switch_key(
          "drop_last", [](auto& e) -> auto& { return e.drop_last; },
          "drop an epoch's last, smaller global batch; false: train on it"),
  };
}

Rows optimizer_rows() {
  return {
      choice_key(
          "optimizer.kind", [](auto& e) -> auto& { return e.optimizer.kind; }, "update rule"),
      number_key(
          "optimizer.lr", [](auto& e) -> auto& { return e.optimizer.lr; }, kNotNegative,
          "learning rate after warm-up"),
      number_key(
          "optimizer.momentum", [](auto& e) -> auto& { return e.optimizer.momentum; }, kBelowOne,
          "sgd: momentum coefficient"),
      switch_key(
          "optimizer.nesterov", [](auto& e) -> auto& { return e.optimizer.nesterov; },
          "sgd: use Nesterov momentum"),
      number_key(
          "optimizer.weight_decay", [](auto& e) -> auto& { return e.optimizer.weight_decay; },
          kNotNegative, "coefficient of weight decay; adamw: decoupled from the gradient"),
      switch_key(
          "optimizer.decay_norm_and_bias",
          [](auto& e) -> auto& { return e.optimizer.decay_norm_and_bias; },
          "apply weight decay to all parameters: also to biases, to those of norms, and to the "
          "gains g of normalized weights"),
      number_key(
          "optimizer.beta1", [](auto& e) -> auto& { return e.optimizer.beta1; }, kBelowOne,
          "adam, adamw: decay of the mean of gradients"),
      number_key(
          "optimizer.beta2", [](auto& e) -> auto& { return e.optimizer.beta2; }, kBelowOne,
          "adam, adamw: decay of the mean of squared gradients"),
      number_key(
          "optimizer.eps", [](auto& e) -> auto& { return e.optimizer.eps; }, kPositive,
          "adam, adamw: added to the denominator"),
      choice_key(
          "optimizer.clip", [](auto& e) -> auto& { return e.optimizer.clip; },
          "which gradients are clipped; norm: that of all parameters, by clip_norm; adaptive: that "
          "of each output unit relative to its weights, by clip_ratio, except in the last layer"),
      number_key(
          "optimizer.clip_ratio", [](auto& e) -> auto& { return e.optimizer.clip_ratio; },
          kPositive,
          "adaptive: largest ratio of the 2-norms of a unit's gradient and weights (these at least "
          "1e-3)"),
      number_key(
          "optimizer.clip_norm", [](auto& e) -> auto& { return e.optimizer.clip_norm; },
          kNotNegative,
          "norm: largest 2-norm of the gradient over all parameters; a longer gradient is scaled "
          "down to "
          "it; 0: no clipping"),
      integer_key(
          "optimizer.lr_reference_batch",
          [](auto& e) -> auto& { return e.optimizer.lr_reference_batch; }, at_least(0),
          "multiply lr by global batch / this value; 0: use lr as it is"),
  };
}

Rows ema_rows() {
  return {
      free_on_resume(number_key(
          "ema.decay", [](auto& e) -> auto& { return e.ema.decay; }, kBelowOne,
          "share of the average that an update keeps, as 0.999; 0: no average")),
      free_on_resume(integer_key(
          "ema.every", [](auto& e) -> auto& { return e.ema.every; }, at_least(1),
          "updates of the weights between those of the average")),
      free_on_resume(choice_key(
          "ema.statistics", [](auto& e) -> auto& { return e.ema.statistics; },
          "batch norms: the running statistics of the averaged weights; average: averaged like "
          "them; copy: the model's; precise: computed anew, as evaluation.statistics does")),
  };
}

Rows schedule_rows() {
  return {
      choice_key(
          "schedule.kind", [](auto& e) -> auto& { return e.schedule.kind; },
          "shape of the schedule after warm-up"),
      integer_key(
          "schedule.warmup_steps", [](auto& e) -> auto& { return e.schedule.warmup_steps; },
          at_least(0), "updates in which the rate rises to lr; 0: no warm-up"),
      integer_list_key(
          "schedule.milestones", [](auto& e) -> auto& { return e.schedule.milestones; },
          at_least(1),
          "step: updates after which the rate is multiplied by gamma, in increasing order"),
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
          kBelowOne, "probability mass that is spread over all classes"),
      number_key(
          "loss.dice", [](auto& e) -> auto& { return e.loss.dice; }, kNotNegative,
          "labels per pixel: weight of the Dice loss over the global batch, which is added; 0: "
          "none"),
      number_list_key(
          "loss.class_weights", [](auto& e) -> auto& { return e.loss.class_weights; }, kNotNegative,
          kAnyCount,
          "labels per pixel: weight of every class in the cross-entropy, as PyTorch's weight; "
          "[]: all 1"),
      free_on_resume(integer_key(
          "checkpoint.every_steps", [](auto& e) -> auto& { return e.checkpoint.every_steps; },
          at_least(0), "updates between checkpoints; 0: not by step")),
      free_on_resume(integer_key(
          "checkpoint.every_epochs", [](auto& e) -> auto& { return e.checkpoint.every_epochs; },
          at_least(0), "epochs between checkpoints; 0: not by epoch")),
      free_on_resume(integer_key(
          "checkpoint.keep", [](auto& e) -> auto& { return e.checkpoint.keep; }, at_least(2),
          "number of newest checkpoints to keep; the first and the last of a run are always kept")),
      free_on_resume(number_key(
          "fault.deadline", [](auto& e) -> auto& { return e.fault.deadline; },
          NumberRange{0.0, 1e6, false, true},
          "seconds without progress of a rank after which the job is ended")),
      free_on_resume(integer_key(
          "fault.check_every_steps", [](auto& e) -> auto& { return e.fault.check_every_steps; },
          at_least(0),
          "updates between bitwise comparisons of the ranks' parameters; 0: only before "
          "checkpoints")),
      free_on_resume(run_dir_key()),
  };
}

}  // namespace syncnorm::config
