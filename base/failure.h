// Converts any exception to an Error, with an exit code of the table: a refusal by the system or a
// library becomes a message about what the user can change.
#pragma once

#include <cstddef>
#include <exception>

#include "base/error.h"

namespace syncnorm {

/// Returns the error that ends the job for `exception` (not null). An Error stays itself; memory,
/// threads and files that the system refuses become InputErrors (exit 2). Anything else is a defect
/// of the program and has the exit code of a lost rank (70), because the other ranks lose this one.
Error as_error(const std::exception_ptr& exception);

/// Throws OutOfMemoryError when the system would not allocate another `bytes` now. oneDNN allocates
/// while it computes and crashes when that fails, so this is checked before.
void require_spare_memory(std::size_t bytes);

}  // namespace syncnorm
