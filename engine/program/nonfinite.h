// Finds the instruction that first wrote a nan or an infinity.
#pragma once

#include <string>

#include "engine/program/executor.h"

namespace syncnorm {

/// The first occurrence of a nan or an infinity.
struct NonFinite {
  int instruction = -1;  // index in the program; -1: none
  std::string values;    // how many values of its output, and the range of the others
};

/// Runs the forward pass again and returns the first instruction that wrote a nan or an infinity on
/// this rank. Collective like Executor::run(). Changes no state except the arena and the packed
/// weights.
NonFinite find_nonfinite(Executor& executor, StepState state, const BatchView& batch);

}  // namespace syncnorm
