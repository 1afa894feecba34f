// The compiled step as a page of text: `syncnorm plan`.
#pragma once

#include <string>

#include "engine/program/executor.h"

namespace syncnorm {

/// Every instruction with its shapes, the bytes it reads and writes per replica, and the reductions
/// in flight while it runs; then the memory.
std::string plan_text(const Executor& executor, const Memory& memory);

}  // namespace syncnorm
