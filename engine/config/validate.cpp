// Checks a rule only if its keys have no problems of their own. Reports it at the key that was
// given last, because that one broke it.
#include "engine/config/validate.h"

#include "engine/config/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <tuple>
#include <vector>

#include "engine/config/suggest.h"

namespace syncnorm::config {

namespace {

bool all_good(const Draft& draft, std::initializer_list<const char*> keys) {
  return std::none_of(keys.begin(), keys.end(),
                      [&](const char* key) { return draft.failed.contains(key); });
}

int layer_of(const Draft& draft, const std::string& key) {
  const auto origin = draft.origins.find(key);
  return origin == draft.origins.end() ? -1 : origin->second.layer;
}

/// Returns the location of the key that was given in the latest layer.
Position latest(const Draft& draft, std::initializer_list<const char*> keys) {
  const auto rank = [](const Origin& origin) {
    return std::tuple(origin.layer, origin.position.line, origin.position.column);
  };
  const Origin* last = nullptr;
  for (const char* key : keys) {
    const auto origin = draft.origins.find(key);
    if (origin == draft.origins.end()) continue;
    if (last == nullptr || rank(origin->second) > rank(*last)) last = &origin->second;
  }
  return last == nullptr ? Position{} : last->position;
}

void resolve_replicas(Draft& draft, Problems& problems) {
  Experiment& experiment = draft.experiment;
  if (!all_good(draft, {"replicas", "global_batch", "batch_per_replica"})) return;
  constexpr int kMostReplicas = 65536;
  if (draft.global_batch > 0) {
    if (draft.global_batch % experiment.batch_per_replica != 0) {
      problems.add(latest(draft, {"global_batch", "batch_per_replica"}), "global_batch",
                   fmt::format("{} is not a multiple of batch_per_replica, {}; give one that is",
                               draft.global_batch, experiment.batch_per_replica));
      draft.failed.insert("global_batch");
      return;
    }
    experiment.replicas = draft.global_batch / experiment.batch_per_replica;
    draft.origins["replicas"] = draft.origins.at("global_batch");
    if (experiment.replicas > kMostReplicas) {
      problems.add(latest(draft, {"global_batch", "batch_per_replica"}), "global_batch",
                   fmt::format("makes {} replicas; at most {} are possible", experiment.replicas,
                               kMostReplicas));
      draft.failed.insert("global_batch");
    }
    return;
  }
  const auto global_batch =
      static_cast<std::int64_t>(experiment.replicas) * experiment.batch_per_replica;
  if (global_batch > std::numeric_limits<int>::max()) {
    problems.add(latest(draft, {"replicas", "batch_per_replica"}), "batch_per_replica",
                 fmt::format("makes a global batch of {}; at most {} samples are possible",
                             global_batch, std::numeric_limits<int>::max()));
  }
}

void check_synced_replicas(const Draft& draft, Problems& problems) {
  const Experiment& experiment = draft.experiment;
  const int synced = experiment.norm.synced_replicas;
  const int replicas = experiment.replicas;
  if (!experiment.norms_over_batch() || synced == 0) return;
  if (!all_good(draft, {"norm.kind", "norm.layers", "norm.synced_replicas", "replicas",
                        "global_batch", "batch_per_replica"})) {
    return;
  }
  if (replicas % synced == 0) return;
  std::vector<std::string> divisors;
  for (int divisor = 1; divisor <= replicas && divisors.size() < 12; ++divisor) {
    if (replicas % divisor == 0) divisors.push_back(std::to_string(divisor));
  }
  const Position where = latest(draft, {"norm.synced_replicas", "norm.kind", "norm.layers",
                                        "replicas", "global_batch", "batch_per_replica"});
  problems.add(where, "norm.synced_replicas",
               fmt::format("{} {} the {} replicas; give all, {}", synced,
                           synced > replicas ? "is more than" : "does not divide", replicas,
                           either(divisors)));
}

void check_schedule(Draft& draft, Problems& problems) {
  ScheduleConfig& schedule = draft.experiment.schedule;
  if (!all_good(draft, {"schedule.kind", "schedule.milestones"})) return;
  const Position where = latest(draft, {"schedule.kind", "schedule.milestones"});
  if (schedule.kind == ScheduleKind::step) {
    if (schedule.milestones.empty()) {
      problems.add(where, "schedule.milestones",
                   "kind: step needs milestones; give a list of steps, for example [1000, 2000]");
    }
    const bool increasing =
        std::adjacent_find(schedule.milestones.begin(), schedule.milestones.end(),
                           std::greater_equal<>()) == schedule.milestones.end();
    if (!increasing) {
      problems.add(draft.origins.at("schedule.milestones").position, "schedule.milestones",
                   "must increase from entry to entry; sort them, without repetitions");
    }
    return;
  }
  if (schedule.milestones.empty()) return;
  if (layer_of(draft, "schedule.milestones") >= layer_of(draft, "schedule.kind")) {
    problems.add(draft.origins.at("schedule.milestones").position, "schedule.milestones",
                 "only kind: step reads milestones; set `schedule.kind: step`, or remove them");
    return;
  }
  // A later layer chose another kind, so the milestones of its base no longer apply.
  schedule.milestones.clear();
  draft.origins.erase("schedule.milestones");
}

void check_optimizer(const Draft& draft, Problems& problems) {
  const OptimizerConfig& optimizer = draft.experiment.optimizer;
  if (!all_good(draft, {"optimizer.kind", "optimizer.nesterov", "optimizer.momentum"})) return;
  if (optimizer.kind == OptimizerKind::sgd && optimizer.nesterov && optimizer.momentum == 0.0) {
    problems.add(latest(draft, {"optimizer.kind", "optimizer.nesterov", "optimizer.momentum"}),
                 "optimizer.nesterov",
                 "needs a momentum above 0; set `optimizer.momentum: 0.9`, or nesterov to false");
  }
}

void check_clip(const Draft& draft, Problems& problems) {
  const OptimizerConfig& optimizer = draft.experiment.optimizer;
  if (optimizer.clip != ClipKind::adaptive || optimizer.clip_norm == 0.0 ||
      !all_good(draft, {"optimizer.clip", "optimizer.clip_norm"}))
    return;
  problems.add(latest(draft, {"optimizer.clip", "optimizer.clip_norm"}), "optimizer.clip_norm",
               "clips the gradient of all parameters; leave it out, or set `optimizer.clip: norm`");
}

bool is_resnet(const ModelConfig& model) {
  switch (model.architecture) {
    case Architecture::resnet8:
    case Architecture::resnet20:
    case Architecture::resnet32:
    case Architecture::resnet56:
    case Architecture::resnet18:
    case Architecture::resnet34:
    case Architecture::resnet50:
      return model.layers.empty();
    case Architecture::mlp:
    case Architecture::convnet:
    case Architecture::lenet:
    case Architecture::vgg11:
    case Architecture::vgg13:
    case Architecture::vgg16:
    case Architecture::unet:
    case Architecture::deeplabv3:
    case Architecture::linknet:
      break;
  }
  return false;
}

/// Resolves the defaults that depend on the architecture: torchvision's, and for small images.
void resolve_model(Draft& draft, Problems& problems) {
  ModelConfig& model = draft.experiment.model;
  if (model.aspp_rates.size() > 6 && all_good(draft, {"model.aspp_rates"}))
    problems.add(latest(draft, {"model.aspp_rates"}), "model.aspp_rates",
                 fmt::format("has {} rates; give at most 6", model.aspp_rates.size()));
  if (model.architecture != Architecture::deeplabv3 || !model.layers.empty()) return;
  if (!draft.origins.contains("model.dropout")) model.dropout = 0.5;
  if (model.backbone != Backbone::resnet20) return;
  if (!draft.origins.contains("model.aspp_channels")) model.aspp_channels = 64;
  if (!draft.origins.contains("model.aspp_rates")) model.aspp_rates = {2, 4, 6};
}

void check_residual(const Draft& draft, Problems& problems) {
  const Experiment& e = draft.experiment;
  const ResidualKind kind = e.model.residual.kind;
  if (kind == ResidualKind::plain) return;
  const auto complain = [&](std::initializer_list<const char*> keys, const std::string& text) {
    if (all_good(draft, keys)) problems.add(latest(draft, keys), "model.residual.kind", text);
  };
  if (!is_resnet(e.model))
    return complain(
        {"model.residual.kind", "model.architecture", "model.layers"},
        "is for the ResNets of the zoo; set model.architecture to one of them, or leave it "
        "out");
  if (kind != ResidualKind::normalizer_free) return;
  if (e.norm.kind != NormKind::none || !e.norm_rules.empty())
    complain({"model.residual.kind", "norm.kind", "norm.layers"},
             "normalizer_free blocks have no norms; set `norm: {kind: none, weights: "
             "scaled_standardized}`");
  else if (e.norm.weights != WeightsKind::scaled_standardized)
    complain({"model.residual.kind", "norm.weights"},
             "normalizer_free blocks need filters of known variance; set `norm: {kind: none, "
             "weights: scaled_standardized}`");
}

void check_norm(const Draft& draft, Problems& problems) {
  const NormConfig& norm = draft.experiment.norm;
  if (norm.noise && !norm.traits().layer && all_good(draft, {"norm.kind", "norm.noise"}))
    problems.add(latest(draft, {"norm.kind", "norm.noise"}), "norm.noise",
                 "stands behind a normalization, and kind: none has none; give another kind, or "
                 "leave noise out");
  const auto unread = [&](const char* key, const std::string& hint) {
    if (layer_of(draft, key) >= std::max(0, layer_of(draft, "norm.kind")) &&
        all_good(draft, {"norm.kind", key}))
      problems.add(draft.origins.at(key).position, key, hint);
  };
  if (norm.frozen != FrozenParts::both && norm.kind != NormKind::frozen)
    unread("norm.frozen", "only kind: frozen reads it; set `norm.kind: frozen`, or leave it out");
  if (norm.traits().groups != ChannelGroups::configured)
    unread("norm.channels_per_group",
           "only kind: group and evonorm_s0 read it; set one of them, or leave it out");
  if (norm.over == LayerNormOver::channels && norm.kind != NormKind::layer &&
      all_good(draft, {"norm.kind", "norm.over"}))
    problems.add(latest(draft, {"norm.kind", "norm.over"}), "norm.over",
                 "channels is for layer norm; give `kind: layer`, or leave over out");
  if (norm.tlu && norm.kind != NormKind::frn && all_good(draft, {"norm.kind", "norm.tlu"}))
    problems.add(latest(draft, {"norm.kind", "norm.tlu"}), "norm.tlu",
                 "is the activation of FRN; give `kind: frn`, or leave tlu out");
  const auto for_batch = [&](const char* key, bool wanted) {
    if (wanted && norm.over_batch() && norm.kind != NormKind::batch &&
        norm.kind != NormKind::frozen && all_good(draft, {"norm.kind", key}))
      problems.add(latest(draft, {"norm.kind", key}), key,
                   fmt::format("is for kind: batch; kind: {} has statistics of its own; leave it "
                               "out, or give `kind: batch`",
                               name_of(norm.kind)));
  };
  for_batch("norm.deviation", norm.deviation != Deviation::l2);
  for_batch("norm.renormalize", norm.renormalize);
  const NormConfig defaults;
  const auto only_for = [&](NormKind kind, const char* key, bool given) {
    if (given && norm.kind != kind)
      unread(key, fmt::format("only kind: {0} reads it; set `norm.kind: {0}`, or leave it out",
                              name_of(kind)));
  };
  only_for(NormKind::momentum, "norm.momentum_images",
           norm.momentum_images != defaults.momentum_images);
  only_for(NormKind::momentum, "norm.momentum_ramp", norm.momentum_ramp != defaults.momentum_ramp);
  const auto over_updates = [&](const char* key, bool given) {
    if (given && norm.kind != NormKind::mabn && norm.kind != NormKind::cross_iteration)
      unread(key, "only kind: mabn and cross_iteration read it; set one of them, or leave it out");
  };
  over_updates("norm.window", norm.window != defaults.window);
  over_updates("norm.window_start", norm.window_start != defaults.window_start);
  if (norm.kind == NormKind::cross_iteration && norm.window < 2 &&
      all_good(draft, {"norm.kind", "norm.window"}))
    problems.add(latest(draft, {"norm.kind", "norm.window"}), "norm.window",
                 "of one update is batch norm; give 2 or more, or `kind: batch`");
  if (norm.kind == NormKind::mabn && norm.precise_samples > 0 &&
      all_good(draft, {"norm.kind", "norm.precise_samples"}))
    problems.add(latest(draft, {"norm.kind", "norm.precise_samples"}), "norm.precise_samples",
                 "kind: mabn keeps no mean and variance that samples could replace; leave it out, "
                 "or give another kind");
  if (!norm.over_batch() || norm.deviation == Deviation::l2) return;
  const auto needs_l2 = [&](const char* key, bool wanted) {
    if (wanted && all_good(draft, {"norm.kind", "norm.deviation", key}))
      problems.add(latest(draft, {"norm.deviation", "norm.kind", key}), key,
                   "works with deviation: l2 only; leave out one of the two");
  };
  needs_l2("norm.renormalize", norm.renormalize);
  needs_l2("norm.precise_samples", norm.precise_samples > 0);
}

/// Cross-iteration norm follows parameters, and a computed weight is a function of all of a filter.
void check_weights(const Draft& draft, Problems& problems) {
  const Experiment& e = draft.experiment;
  if (e.norm.weights == WeightsKind::plain || !e.has_norm(NormKind::cross_iteration) ||
      !all_good(draft, {"norm.kind", "norm.layers", "norm.weights"}))
    return;
  problems.add(
      latest(draft, {"norm.weights", "norm.kind", "norm.layers"}), "norm.weights",
      "kind: cross_iteration follows the change of plain weights; leave out one of the two");
}

/// Without statistics over the batch, all evaluations would be the same.
void check_evaluation(Draft& draft, Problems& problems) {
  EvaluationConfig& evaluation = draft.experiment.evaluation;
  const NormConfig& norm = draft.experiment.norm;
  const char* const key = "evaluation.statistics";
  if (!all_good(draft, {key})) return;
  if (evaluation.statistics.empty()) {
    problems.add(latest(draft, {key}), key, "is empty; give at least one, such as [running]");
    return;
  }
  const bool has_others = !evaluation.only_running();
  if (has_others && !draft.experiment.norms_over_batch() &&
      all_good(draft, {"norm.kind", "norm.frozen"})) {
    if (std::max(layer_of(draft, "norm.kind"), layer_of(draft, "norm.frozen")) >
        layer_of(draft, key)) {
      // A later layer chose another norm, so the statistics of its base no longer apply.
      evaluation.statistics = {EvaluationStatistics::running};
      draft.origins.erase(key);
      return;
    }
    problems.add(latest(draft, {key, "norm.kind", "norm.frozen"}), key,
                 fmt::format("kind: {} has no statistics over the batch; give [running], or a norm "
                             "over the batch",
                             name_of(norm.kind)));
    return;
  }
  const auto refuse = [&](bool wanted, NormKind kind, const char* text) {
    if (wanted && draft.experiment.has_norm(kind) && all_good(draft, {"norm.kind", "norm.layers"}))
      problems.add(latest(draft, {key, "norm.kind", "norm.layers"}), key,
                   fmt::format("kind: {} {}", name_of(kind), text));
  };
  refuse(has_others, NormKind::mabn, "evaluates with its running averages alone; give [running]");
  const char* const unmixed = "mixes statistics of its own; leave out mixed";
  refuse(evaluation.has(EvaluationStatistics::mixed), NormKind::switchable, unmixed);
  refuse(evaluation.has(EvaluationStatistics::mixed), NormKind::evonorm_b0, unmixed);
  if (has_others && norm.deviation != Deviation::l2 && all_good(draft, {"norm.deviation"}))
    problems.add(latest(draft, {key, "norm.deviation"}), key,
                 "others than running work with deviation: l2 only; leave out one of the two");
  if (!evaluation.has(EvaluationStatistics::mixed) ||
      !all_good(draft, {"evaluation.mixed_weights", "data.validation"}))
    return;
  if (evaluation.mixed_weights.empty())
    problems.add(latest(draft, {"evaluation.mixed_weights"}), "evaluation.mixed_weights",
                 "is empty; give at least one weight in [0, 1]");
  if (evaluation.mixed_weights.size() > 1 && draft.experiment.data.validation == 0)
    problems.add(latest(draft, {key, "evaluation.mixed_weights", "data.validation"}),
                 "evaluation.mixed_weights",
                 "validation images choose among several weights; set data.validation to their "
                 "number, or give one weight, as [0.1]");
}

void check_ema(Draft& draft, Problems& problems) {
  EmaConfig& ema = draft.experiment.ema;
  if (ema.decay == 0.0) {
    const EmaConfig defaults;
    const auto unread = [&](const char* key, bool changed) {
      if (changed && layer_of(draft, key) >= layer_of(draft, "ema.decay") &&
          all_good(draft, {"ema.decay", key}))
        problems.add(draft.origins.at(key).position, key,
                     "there is no average without a decay; give ema.decay, as 0.999, or leave it "
                     "out");
      else
        draft.origins.erase(key);
    };
    unread("ema.every", ema.every != defaults.every);
    unread("ema.statistics", ema.statistics != defaults.statistics);
    ema = defaults;  // what a base says does not apply where a later layer takes the decay away
    return;
  }
  const NormConfig& norm = draft.experiment.norm;
  if (ema.statistics == AverageStatistics::precise &&
      (!norm.over_batch() || norm.deviation != Deviation::l2) &&
      all_good(draft, {"ema.statistics", "norm.kind", "norm.frozen", "norm.deviation"}))
    problems.add(latest(draft, {"ema.statistics", "norm.kind", "norm.frozen", "norm.deviation"}),
                 "ema.statistics",
                 "precise is for norms over the batch with deviation: l2; give average or copy");
}

/// Checks images on disk, and the augmentations that only they have.
void check_images(const Draft& draft, Problems& problems) {
  const DataConfig& data = draft.experiment.data;
  const auto complain = [&](const char* key, std::initializer_list<const char*> keys,
                            const std::string& text) {
    if (all_good(draft, keys)) problems.add(latest(draft, keys), key, text);
  };
  const auto place = [&](AugmentKind kind) {
    return std::find(data.augment.begin(), data.augment.end(), kind) - data.augment.begin();
  };
  const auto count = static_cast<std::ptrdiff_t>(data.augment.size());
  const auto crop = place(AugmentKind::random_resized_crop);
  const auto jitter = place(AugmentKind::color_jitter);
  if (!data.on_disk()) {
    if (crop < count || jitter < count)
      complain("data.augment", {"data.augment", "data.dataset"},
               fmt::format("{} works on images on disk; set data.dataset to image_folder or "
                           "packed, or leave it out",
                           crop < count ? "random_resized_crop" : "color_jitter"));
    return;
  }
  if (data.path == "auto")
    complain("data.path", {"data.path", "data.dataset"},
             fmt::format("{} has no usual place; give its folder", name_of(data.dataset)));
  if (crop < count && crop > 0)
    complain("data.augment", {"data.augment"},
             "random_resized_crop makes the image that the others change; list it first");
  if (jitter < count &&
      (place(AugmentKind::random_crop) < jitter || place(AugmentKind::cutout) < jitter))
    complain("data.augment", {"data.augment"},
             "color_jitter would change padding and what is cut out; list it before random_crop "
             "and cutout");
  if (data.images.resize < std::max(data.images.height, data.images.width))
    complain("data.images.resize",
             {"data.images.resize", "data.images.height", "data.images.width"},
             fmt::format("{} is less than height or width; give at least {}", data.images.resize,
                         std::max(data.images.height, data.images.width)));
}

/// Checks for keys that nothing would read, and for unusable addresses.
void check_metrics(const Draft& draft, Problems& problems) {
  const MetricsConfig& metrics = draft.experiment.metrics;
  const auto complain = [&](const char* key, std::initializer_list<const char*> keys,
                            const std::string& text) {
    if (all_good(draft, keys)) problems.add(latest(draft, keys), key, text);
  };
  if (metrics.user.empty() != metrics.password_file.empty())
    complain(metrics.user.empty() ? "metrics.user" : "metrics.password_file",
             {"metrics.user", "metrics.password_file"},
             "user and password_file go together; give both, or neither");
  if (metrics.user.find(':') != std::string::npos)
    complain("metrics.user", {"metrics.user"},
             "a user name of basic authentication has no colon; choose another");
  if (!metrics.file_sd_dir.empty() && !metrics.prometheus)
    complain("metrics.file_sd_dir", {"metrics.file_sd_dir", "metrics.prometheus"},
             "there is no target without an exporter; set `metrics.prometheus: true`");
  if (!metrics.textfile.empty() && !metrics.textfile.ends_with(".prom"))
    complain("metrics.textfile", {"metrics.textfile"},
             "node_exporter reads files that end in .prom only; give it such a name");
  if (metrics.pushgateway.starts_with("https://"))
    complain("metrics.pushgateway", {"metrics.pushgateway"},
             "TLS is not spoken here; give the http:// address of a proxy that does");
  else if (!metrics.pushgateway.empty() && !metrics.pushgateway.starts_with("http://"))
    complain("metrics.pushgateway", {"metrics.pushgateway"},
             "is no address; write http://host:port, as http://127.0.0.1:9091");
}

void check_probes(const Draft& draft, Problems& problems) {
  const ProbesConfig& probes = draft.experiment.probes;
  if (!all_good(draft, {"probes.landscape_from", "probes.landscape_to"})) return;
  if (probes.landscape_from <= probes.landscape_to) return;
  problems.add(latest(draft, {"probes.landscape_from", "probes.landscape_to"}),
               "probes.landscape_from",
               "is behind landscape_to; the steps along the gradient go up");
}

}  // namespace

void resolve_norm(Draft& draft, Problems& problems) {
  NormConfig& norm = draft.experiment.norm;
  // Singh & Krishnan 2020 have an eps of their own; Yan et al. 2020 a momentum and limits of r.
  if (norm.kind == NormKind::frn && !draft.origins.contains("norm.eps")) norm.eps = 1e-6;
  if (norm.kind == NormKind::mabn) {
    if (!draft.origins.contains("norm.momentum")) norm.momentum = 0.02;
    if (!draft.origins.contains("norm.r_max")) norm.r_max = 5.0;
    if (!draft.origins.contains("norm.renormalize_start")) norm.renormalize_start = 1000;
  }
  if (norm.kind == NormKind::cross_iteration && !draft.origins.contains("norm.window"))
    norm.window = 8;
  check_norm(draft, problems);
}

void resolve(Draft& draft, Problems& problems) {
  resolve_replicas(draft, problems);
  check_synced_replicas(draft, problems);
  resolve_norm(draft, problems);
  resolve_model(draft, problems);
  check_weights(draft, problems);
  check_evaluation(draft, problems);
  check_ema(draft, problems);
  check_schedule(draft, problems);
  check_optimizer(draft, problems);
  check_clip(draft, problems);
  check_residual(draft, problems);
  check_images(draft, problems);
  check_metrics(draft, problems);
  check_probes(draft, problems);
  if (draft.experiment.run_dir.empty()) draft.experiment.run_dir = "runs/" + draft.experiment.name;
}

void resolve_synced_replicas(Experiment& experiment) {
  int& synced = experiment.norm.synced_replicas;
  if (!experiment.norms_over_batch()) {
    synced = 1;
  } else if (synced == 0) {
    synced = experiment.replicas;
  }
  for (NormRule& rule : experiment.norm_rules) rule.norm.synced_replicas = synced;
}

}  // namespace syncnorm::config
