// Fault injection: the only interface through which tests break a run.
//
// A fault is `kind@rank:step[:place]`. Code that can be broken asks at its fault points what to do.
// A plain build has no faults and never asks (no_faults.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace syncnorm {

/// The point of a step at which a fault happens. `update` is right after the parameters were
/// updated. `save` counts the write boundaries of a checkpoint from 1.
enum class FaultPlace { forward, statistics, gradient, update, save, evaluation, shutdown };

/// Effects that the caller must produce; all other kinds of faults happen inside Faults::at().
enum class FaultEffect {
  none,
  nan,          // one value becomes a nan
  skip,         // the collective is not started on this rank
  flip,         // a bit of the file, or of this rank's parameters, is flipped
  torn,         // half of the file is written, without an error
  short_write,  // the first write accepts half of its bytes
  no_space,     // ENOSPC
  io_error,     // EIO
};

class Faults {
 public:
  virtual ~Faults() = default;
  /// Reports that this rank is at `place` of update `step` (the first is 1). Triggers a fault that
  /// is due there, once per process; it may end the process or throw. Thread-safe.
  virtual FaultEffect at(FaultPlace place, std::int64_t step, int boundary = 1) = 0;
};

/// Returns the faults of `rank` from the values of --fault; null if there are none. Throws
/// InputError for an invalid fault, and for any fault in a build without them.
std::unique_ptr<Faults> make_faults(const std::vector<std::string>& texts, int rank);

}  // namespace syncnorm
