// Finding where a nan or an infinity came from.
#pragma once

#include <string>

#include "engine/program/executor.h"

namespace syncnorm {

/// Where a nan or an infinity was first seen.
struct NonFinite {
  int instruction = -1;  // index in the program; -1: nowhere
  std::string values;    // how many of its output, and the range of the others
};

/// Runs the forward pass again and returns the first instruction that wrote a nan or an infinity on
/// this rank. Collective like Executor::run(). Changes no state but the arena.
NonFinite find_nonfinite(Executor& executor, StepState state, const BatchView& batch);

}  // namespace syncnorm
