// The learning rate of each update.
#pragma once

#include <cstdint>

#include "engine/config/experiment.h"

namespace syncnorm {

/// Returns the rate of update `step` (0-based) of `total_steps`. The base rate is optimizer.lr,
/// multiplied by global_batch / lr_reference_batch if that is set (linear scaling, Goyal et al.
/// 2017). It is reached linearly over the first warmup_steps updates; the schedule begins after
/// them.
double learning_rate(const Experiment& experiment, std::int64_t step, std::int64_t total_steps);

}  // namespace syncnorm
