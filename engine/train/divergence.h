// Numbers that cannot be right: nans and infinities, and parameters that differ between ranks.
#pragma once

#include "engine/train/step_loop.h"

namespace syncnorm {

/// Why a step's loss or gradient is not finite (StepDone::Outcome::not_finite): where it began, and
/// what helps. Abandons the steps in flight. Collective. Throws Error with ExitCode::peer_lost
/// where the repeated step is finite: a device gave a wrong value.
std::string why_diverged(Setup& setup, StepLoop& loop, const StepDone& step);

/// Throws Error with ExitCode::peer_lost, on every rank, where ranks' parameters differ after
/// `step`. Collective.
void compare_parameters(Setup& setup, std::int64_t step);

}  // namespace syncnorm
