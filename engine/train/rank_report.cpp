// See rank_report.h.
#include "engine/train/rank_report.h"

namespace syncnorm {
namespace {

/// Returns the phase of a reduction: Phase has the order of ReductionKind.
std::size_t phase_of(const ReductionSpec& spec) { return static_cast<std::size_t>(spec.kind); }
static_assert(static_cast<int>(ReductionKind::loss) == static_cast<int>(Phase::loss) &&
              static_cast<int>(ReductionKind::gradient) == static_cast<int>(Phase::gradient) &&
              static_cast<int>(ReductionKind::backward_statistics) ==
                  static_cast<int>(Phase::backward_statistics));

void add_totals(const Executor& executor, RankStepEvent& event) {
  const std::vector<ReductionSpec>& specs = executor.program().reductions;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::size_t phase = phase_of(specs[i]);
    event.exposed[phase] += executor.reductions().timings()[i].exposed;
    event.in_flight[phase] += executor.reductions().timings()[i].in_flight;
  }
}

}  // namespace

void RankReport::start() {
  if (!watched()) return;
  const MetricsConfig& metrics = setup_.experiment.metrics;
  layers_ = std::make_unique<LayerStatistics>(setup_.full->program(),
                                              metrics.layers ? metrics.layer_limit : 0);
  RankStartEvent event;
  event.arena_bytes = static_cast<std::int64_t>(setup_.memory.arena.bytes());
  event.layers = layers_->layers();
  setup_.options.rank_observer->on_rank_start(event);
}

RankStepEvent RankReport::totals() const {
  RankStepEvent totals;
  if (!watched()) return totals;
  add_totals(*setup_.full, totals);
  if (setup_.tail != nullptr) add_totals(*setup_.tail, totals);
  return totals;
}

bool RankReport::sampled(std::int64_t step, bool full_batch) {
  sample_due_ = sample_due_ || step % setup_.experiment.metrics.every_steps == 0;
  return watched() && sample_due_ && full_batch;
}

void RankReport::tell_step(const StepEvent& step, const Executor& executor,
                           const RankStepEvent& before, double gradient_norm) const {
  if (!watched()) return;
  RankStepEvent event = totals();
  for (std::size_t p = 0; p < kPhases; ++p) {
    event.exposed[p] -= before.exposed[p];
    event.in_flight[p] -= before.in_flight[p];
  }
  const std::vector<ReductionSpec>& specs = executor.program().reductions;
  for (std::size_t i = 0; i < specs.size(); ++i)
    event.bytes[phase_of(specs[i])] +=
        static_cast<double>(executor.reductions().bytes_sent(static_cast<int>(i)));
  event.step = step.step;
  event.seconds = step.seconds;
  event.data_seconds = step.data_seconds;
  event.gradient_measured = gradient_norm >= 0.0;
  event.gradient_norm = gradient_norm;
  setup_.options.rank_observer->on_rank_step(event);
}

void RankReport::tell_layers(std::int64_t step, std::span<const LayerSums> layers) {
  setup_.options.rank_observer->on_layers(step, layers);
  sample_due_ = false;
}

}  // namespace syncnorm
