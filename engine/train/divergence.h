// Detects wrong numbers: nans, infinities, and parameters that differ between ranks.
#pragma once

#include "engine/train/step_loop.h"

namespace syncnorm {

/// Explains why a step's loss or gradient is not finite (StepDone::Outcome::not_finite): where it
/// began, and what helps. Abandons the steps in flight. Collective. Throws Error with
/// ExitCode::peer_lost if the repeated step is finite, since then a device computed a wrong value.
std::string why_diverged(Setup& setup, StepLoop& loop, const StepDone& step);

/// Throws Error with ExitCode::peer_lost on every rank if the parameters differ between ranks after
/// `step`. Collective.
void compare_parameters(Setup& setup, std::int64_t step);

}  // namespace syncnorm
