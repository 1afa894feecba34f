// What the trainer tells of every rank: a step's times and bytes by phase, as differences of the
// executors' totals.
#include "engine/train/trainer.h"

namespace syncnorm {
namespace {

/// Phase has the order of ReductionKind.
std::size_t phase_of(const ReductionSpec& spec) { return static_cast<std::size_t>(spec.kind); }
static_assert(static_cast<int>(ReductionKind::loss) == static_cast<int>(Phase::loss) &&
              static_cast<int>(ReductionKind::gradient) == static_cast<int>(Phase::gradient) &&
              static_cast<int>(ReductionKind::backward_statistics) ==
                  static_cast<int>(Phase::backward_statistics));

void add_totals(const Executor& executor, RankStepEvent& event) {
  const std::vector<ReductionSpec>& specs = executor.program().reductions;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::size_t phase = phase_of(specs[i]);
    event.exposed[phase] += executor.reduction_timings()[i].exposed;
    event.in_flight[phase] += executor.reduction_timings()[i].in_flight;
  }
}

}  // namespace

void Trainer::tell_rank_start() {
  if (options_.rank_observer == nullptr) return;
  layers_ = std::make_unique<LayerStatistics>(
      full_->program(), experiment_.metrics.layers ? experiment_.metrics.layer_limit : 0);
  RankStartEvent event;
  event.arena_bytes = static_cast<std::int64_t>(memory_.arena.bytes());
  event.layers = layers_->layers();
  options_.rank_observer->on_rank_start(event);
}

RankStepEvent Trainer::rank_totals() const {
  RankStepEvent totals;
  add_totals(*full_, totals);
  if (tail_ != nullptr) add_totals(*tail_, totals);
  return totals;
}

void Trainer::tell_rank_step(const StepEvent& step, const RankStepEvent& before,
                             double gradient_norm) {
  RankStepEvent event = rank_totals();
  for (std::size_t p = 0; p < kPhases; ++p) {
    event.exposed[p] -= before.exposed[p];
    event.in_flight[p] -= before.in_flight[p];
  }
  const bool tail = tail_ != nullptr && step.samples < plan_.global_batch();
  const Executor& executor = tail ? *tail_ : *full_;
  const std::vector<ReductionSpec>& specs = executor.program().reductions;
  for (std::size_t i = 0; i < specs.size(); ++i)
    event.bytes[phase_of(specs[i])] +=
        static_cast<double>(executor.bytes_sent(static_cast<int>(i)));
  event.step = step.step;
  event.seconds = step.seconds;
  event.data_seconds = step.data_seconds;
  event.gradient_measured = gradient_norm >= 0.0;
  event.gradient_norm = gradient_norm;
  options_.rank_observer->on_rank_step(event);
}

}  // namespace syncnorm
