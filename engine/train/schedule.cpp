// Learning rate schedules, as functions of the step.
#include "engine/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace syncnorm {

double learning_rate(const Experiment& experiment, std::int64_t step, std::int64_t total_steps) {
  const OptimizerConfig& optimizer = experiment.optimizer;
  const ScheduleConfig& schedule = experiment.schedule;
  double base = optimizer.lr;
  if (optimizer.lr_reference_batch > 0)
    base *= static_cast<double>(experiment.global_batch()) / optimizer.lr_reference_batch;
  if (step < schedule.warmup_steps)
    return base * static_cast<double>(step + 1) / schedule.warmup_steps;
  const double length =
      std::max<double>(1.0, static_cast<double>(total_steps - schedule.warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - schedule.warmup_steps) / length);
  switch (schedule.kind) {
    case ScheduleKind::constant:
      return base;
    case ScheduleKind::step: {
      const auto passed = std::count_if(schedule.milestones.begin(), schedule.milestones.end(),
                                        [step](int m) { return step >= m; });
      return base * std::pow(schedule.gamma, static_cast<double>(passed));
    }
    case ScheduleKind::cosine:
      return schedule.final_lr +
             (base - schedule.final_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
    case ScheduleKind::polynomial:
      return schedule.final_lr +
             (base - schedule.final_lr) * std::pow(1.0 - progress, schedule.power);
  }
  return base;
}

}  // namespace syncnorm
