// The learning rate of every update.
#pragma once

#include <cstdint>

#include "engine/config/experiment.h"

namespace syncnorm {

/// The rate of update `step` (0-based) of `total_steps`. The base rate is optimizer.lr, times
/// global_batch / lr_reference_batch when that is set (linear scaling, Goyal et al. 2017). The
/// first warmup_steps updates rise linearly to it; the schedule's progress counts from their end.
double learning_rate(const Experiment& experiment, std::int64_t step, std::int64_t total_steps);

}  // namespace syncnorm
