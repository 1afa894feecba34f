// The text that `syncnorm plan` prints: the compiled step.
#pragma once

#include <string>

#include "engine/program/executor.h"

namespace syncnorm {

/// Returns every instruction with its shapes, the bytes it reads and writes per replica, and the
/// reductions in flight while it runs; then the memory.
std::string plan_text(const Executor& executor, const Memory& memory);

}  // namespace syncnorm
