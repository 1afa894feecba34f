// Any exception as an Error: what the system or a library refuses is told as what a user can
// change, with an exit code of the table.
#pragma once

#include <cstddef>
#include <exception>

#include "base/error.h"

namespace syncnorm {

/// What ends the job when `exception` (not null) was thrown. An Error is itself; memory, threads
/// and files that the system refuses are InputErrors (exit 2); anything else is a defect of the
/// program and has the code of a lost rank (70), since the others lose this one.
Error as_error(const std::exception_ptr& exception);

/// Throws OutOfMemoryError when the system would not give `bytes` more now. oneDNN allocates while
/// it computes, and crashes where it gets nothing; this is asked before.
void require_spare_memory(std::size_t bytes);

}  // namespace syncnorm
