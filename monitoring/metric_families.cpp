// See metric_families.h. All metrics, in the order in which they are exported.
#include "monitoring/metric_families.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <prometheus/text_serializer.h>

namespace syncnorm {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr std::array<const char*, kPhases> kPhaseNames = {
    "forward_statistics", "backward_statistics", "gradient", "loss"};
constexpr std::array<const char*, 2> kSplits = {"test", "validation"};

MetricFamily& add(Families& families, const char* name, const char* help, MetricType type) {
  families.push_back({name, help, type, {}});
  return families.back();
}

void put(MetricFamily& family, double value, const Labels& labels = {}) {
  ClientMetric metric;
  for (const auto& [name, text] : labels) metric.label.push_back({name, text});
  if (family.type == MetricType::Counter)
    metric.counter.value = value;
  else
    metric.gauge.value = value;
  family.metric.push_back(std::move(metric));
}

void gauge(Families& families, const char* name, const char* help, double value) {
  put(add(families, name, help, MetricType::Gauge), value);
}

void counter(Families& families, const char* name, const char* help, double value) {
  put(add(families, name, help, MetricType::Counter), value);
}

void add_step_histogram(Families& families, const RunValues& run) {
  MetricFamily& family =
      add(families, "syncnorm_step_duration_seconds",
          "Wall time of the steps of this launch on rank 0, with waiting for data, without "
          "evaluation and checkpoints.",
          MetricType::Histogram);
  ClientMetric metric;
  double count = 0.0;
  for (std::size_t b = 0; b < run.step_buckets.size(); ++b) {
    count += run.step_buckets[b];
    const bool last = b == kStepBuckets.size();
    metric.histogram.bucket.push_back(
        {static_cast<std::uint64_t>(count),
         last ? std::numeric_limits<double>::infinity() : kStepBuckets[b]});
  }
  metric.histogram.sample_count = static_cast<std::uint64_t>(count);
  metric.histogram.sample_sum = run.step_seconds;
  family.metric.push_back(std::move(metric));
}

void add_progress(Families& families, const RunValues& run) {
  gauge(families, "syncnorm_step", "Updates completed, those of earlier launches included.",
        run.step);
  gauge(families, "syncnorm_planned_steps", "Updates that the run will have at its end.",
        run.total_steps);
  gauge(families, "syncnorm_epoch", "The epoch that the last step belongs to, from 1.", run.epoch);
  add_step_histogram(families, run);
  counter(families, "syncnorm_samples_total", "Samples trained on by this launch.", run.samples);
  gauge(families, "syncnorm_images_per_second",
        "Samples of a global batch over the seconds of its step, smoothed over about 20 steps.",
        run.samples_per_second);
  gauge(families, "syncnorm_loss", "Mean over the global batch, before the update.", run.loss);
  gauge(families, "syncnorm_accuracy_ratio", "Of the global batch, before the update.",
        run.accuracy);
  gauge(families, "syncnorm_learning_rate", "Of the last step.", run.learning_rate);
}

void add_evaluation(Families& families, const RunValues& run) {
  const auto add_splits = [&](const char* name, const char* help, double SplitValues::*number) {
    MetricFamily& family = add(families, name, help, MetricType::Gauge);
    for (std::size_t e = 0; e < kEvaluations.size(); ++e)
      for (std::size_t s = 0; s < kSplits.size(); ++s) {
        const double value = run.evaluations[s][e].*number;
        if (e > 0 && std::isnan(value)) continue;  // the run has no such evaluation, or not yet
        Labels labels = {{"split", kSplits[s]}};
        const bool averaged = std::string_view(kEvaluations[e]) == "ema";
        if (e > 0) labels.emplace_back(averaged ? "weights" : "statistics", kEvaluations[e]);
        put(family, value, labels);
      }
  };
  add_splits("syncnorm_evaluation_loss", "Mean over a split at the last evaluation.",
             &SplitValues::loss);
  add_splits("syncnorm_evaluation_accuracy_ratio", "Of a split at the last evaluation.",
             &SplitValues::accuracy);
  if (std::isfinite(run.evaluations[0][0].mean_iou))
    add_splits("syncnorm_evaluation_mean_iou_ratio",
               "Mean over classes of intersection over union, of a split's pixels at the last "
               "evaluation.",
               &SplitValues::mean_iou);
  const auto add_classes = [&](const char* name, const char* help, double ClassValues::*number) {
    if (std::all_of(run.classes.begin(), run.classes.end(),
                    [&](const ClassValues& one) { return std::isnan(one.*number); }))
      return;
    MetricFamily& family = add(families, name, help, MetricType::Gauge);
    for (std::size_t k = 0; k < kClasses; ++k)
      if (!std::isnan(run.classes[k].*number))
        put(family, run.classes[k].*number, {{"class", std::to_string(k)}});
  };
  add_classes("syncnorm_class_accuracy_ratio",
              "Share of a class's test labels that the last evaluation predicted; the first 32 "
              "classes.",
              &ClassValues::accuracy);
  add_classes("syncnorm_class_iou_ratio",
              "Intersection over union of a class's test pixels at the last evaluation; the first "
              "32 classes.",
              &ClassValues::iou);
  counter(families, "syncnorm_evaluation_seconds_total", "Wall time of evaluations on rank 0.",
          run.evaluation_seconds);
}

void add_state(Families& families, const RunValues& run, double now) {
  counter(families, "syncnorm_checkpoints_total", "Checkpoints written by this launch.",
          run.checkpoints);
  counter(families, "syncnorm_checkpoint_seconds_total",
          "Wall time of writing checkpoints, beside training.", run.checkpoint_seconds);
  counter(families, "syncnorm_checkpoint_failures_total",
          "Checkpoints of this launch that could not be written.", run.checkpoint_failures);
  gauge(families, "syncnorm_checkpoint_bytes", "Size of the last checkpoint.",
        run.checkpoint_bytes);
  gauge(families, "syncnorm_checkpoint_last_success_timestamp_seconds",
        "When the last checkpoint was complete, Unix time; before the first, the launch's start.",
        run.checkpoint_time);
  gauge(families, "syncnorm_start_timestamp_seconds", "When this launch began, Unix time.",
        run.start_time);
  counter(families, "syncnorm_restarts_total", "Launches of this run that began at a checkpoint.",
          run.restarts);
  gauge(families, "syncnorm_effective_training_time_ratio",
        "Seconds in steps that count (not lost behind a checkpoint) over all since the first "
        "launch began.",
        (run.earlier_step_seconds + run.step_seconds) / std::max(1e-9, now - run.first_start_time));
  MetricFamily& outcome = add(families, "syncnorm_run_outcome",
                              "1 at how the run stands, 0 at the others.", MetricType::Gauge);
  for (std::size_t o = 0; o < kOutcomes.size(); ++o)
    put(outcome, run.outcome == static_cast<double>(o) ? 1.0 : 0.0, {{"outcome", kOutcomes[o]}});
}

Labels rank_label(const RankReading& reading) { return {{"rank", std::to_string(reading.rank)}}; }

/// Adds one family with a value per rank.
template <class Value>
void per_rank(Families& families, MetricType type, const char* name, const char* help,
              const std::vector<RankReading>& ranks, const Value& value) {
  MetricFamily& family = add(families, name, help, type);
  for (const RankReading& reading : ranks) put(family, value(reading.values), rank_label(reading));
}

void per_phase(Families& families, const char* name, const char* help,
               const std::vector<RankReading>& ranks, PhaseSums RankValues::*sums) {
  MetricFamily& family = add(families, name, help, MetricType::Counter);
  for (const RankReading& reading : ranks)
    for (std::size_t p = 0; p < kPhases; ++p) {
      Labels labels = rank_label(reading);
      labels.emplace_back("phase", kPhaseNames[p]);
      put(family, (reading.values.*sums)[p], labels);
    }
}

double total(const PhaseSums& sums) { return sums[0] + sums[1] + sums[2] + sums[3]; }

void per_layer(Families& families, const char* name, const char* help,
               const std::vector<LayerReading>& layers, double LayerReading::*value) {
  MetricFamily& family = add(families, name, help, MetricType::Gauge);
  for (const LayerReading& layer : layers) put(family, layer.*value, {{"layer", layer.name}});
}

}  // namespace

void add_info(Families& families, const RunLabels& labels) {
  put(add(families, "syncnorm_build_info", "1; what was built, as labels.", MetricType::Gauge), 1.0,
      labels.build);
  put(add(families, "syncnorm_run_info",
          "1; which run this is, as labels: to be joined with the others by instance.",
          MetricType::Gauge),
      1.0, labels.run);
}

void add_run(Families& families, const RunValues& run, double now) {
  add_progress(families, run);
  add_evaluation(families, run);
  add_state(families, run, now);
}

void add_ranks(Families& families, const std::vector<RankReading>& ranks) {
  const auto counted = [&](const char* name, const char* help, double RankValues::*value) {
    per_rank(families, MetricType::Counter, name, help, ranks,
             [value](const RankValues& values) { return values.*value; });
  };
  counted("syncnorm_rank_steps_total", "Steps of this launch.", &RankValues::steps);
  counted("syncnorm_data_wait_seconds_total", "Waiting for the loader.", &RankValues::data_seconds);
  per_rank(families, MetricType::Counter, "syncnorm_compute_seconds_total",
           "Step time that is neither waiting for data nor exposed in reductions.", ranks,
           [](const RankValues& v) { return v.work_seconds - v.data_seconds; });
  counted("syncnorm_work_seconds_total",
          "Step time before collectives (compute and data): a slow rank has more of it.",
          &RankValues::work_seconds);
  double best = std::numeric_limits<double>::infinity();
  for (const RankReading& reading : ranks)
    if (reading.values.steps > 0.0) best = std::min(best, reading.values.recent_work_seconds);
  per_rank(families, MetricType::Gauge, "syncnorm_straggler_ratio",
           "Time of recent steps before collectives, relative to the best rank of the node; the "
           "best has 1.",
           ranks, [best](const RankValues& v) {
             return v.steps > 0.0 ? v.recent_work_seconds / best : kUnknown;
           });
  per_phase(families, "syncnorm_reduction_exposed_seconds_total",
            "Starting and waiting for reductions.", ranks, &RankValues::exposed);
  per_phase(families, "syncnorm_reduction_in_flight_seconds_total",
            "From the start of reductions until they were seen complete.", ranks,
            &RankValues::in_flight);
  per_phase(families, "syncnorm_reduction_bytes_total", "Sent for reductions.", ranks,
            &RankValues::bytes);
  per_rank(
      families, MetricType::Gauge, "syncnorm_reduction_hidden_ratio",
      "Share of the time of reductions in flight that was not exposed, since the launch began.",
      ranks, [](const RankValues& v) {
        return std::clamp(1.0 - total(v.exposed) / total(v.in_flight), 0.0, 1.0);
      });
  per_rank(families, MetricType::Gauge, "syncnorm_gradient_norm",
           "2-norm over all parameters before clipping, when last measured.", ranks,
           [](const RankValues& v) { return v.gradient_norm; });
  per_rank(families, MetricType::Gauge, "syncnorm_memory_peak_bytes",
           "Largest resident memory of the process so far.", ranks,
           [](const RankValues& v) { return v.peak_memory_bytes; });
  per_rank(families, MetricType::Gauge, "syncnorm_memory_arena_bytes",
           "Of the arena that holds the activations of a step.", ranks,
           [](const RankValues& v) { return v.arena_bytes; });
}

void add_layers(Families& families, const std::vector<LayerReading>& layers) {
  per_layer(families, "syncnorm_layer_activation_mean", "Of the layer's input, over all channels.",
            layers, &LayerReading::mean);
  per_layer(families, "syncnorm_layer_activation_standard_deviation",
            "Of the layer's input, over all channels.", layers, &LayerReading::deviation);
  per_layer(families, "syncnorm_layer_effective_values",
            "Values per channel behind the statistics that normalize, the fewest of any group.",
            layers, &LayerReading::effective_count);
  per_layer(families, "syncnorm_layer_replica_mean_spread_ratio",
            "How far the replicas' own means lie from those of all replicas, in standard "
            "deviations (rms over replicas and channels): what per-device statistics are wrong by.",
            layers, &LayerReading::mean_spread);
  per_layer(families, "syncnorm_layer_replica_variance_spread_ratio",
            "How far the replicas' own variances lie from those of all replicas, relative to them "
            "(rms over replicas and channels).",
            layers, &LayerReading::variance_spread);
  per_layer(families, "syncnorm_layer_drift_ratio",
            "Change of the normalizing means since the sample before (metrics.every_steps), in "
            "standard deviations (rms over channels).",
            layers, &LayerReading::drift);
}

void add_cost(Families& families, const ServingCost& serving,
              const std::vector<RankReading>& ranks) {
  MetricFamily& cpu =
      add(families, "syncnorm_exporter_cpu_seconds_total",
          "CPU time of metrics on this node: publishing by training threads, serving by others.",
          MetricType::Counter);
  double publish = 0.0;
  for (const RankReading& reading : ranks) publish += reading.values.publish_cpu_seconds;
  put(cpu, publish, {{"part", "publish"}});
  put(cpu, serving.cpu_seconds, {{"part", "serve"}});
  counter(families, "syncnorm_scrapes_total", "Requests for metrics that were answered.",
          serving.scrapes);
}

std::string exposition(const Families& families) {
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace syncnorm
