// Faults on demand: the one seam through which tests break a run.
//
// A fault is `kind@rank:step[:place]`. Code that can be broken asks at its places what to do there;
// a plain build has no faults and asks nobody (no_faults.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace syncnorm {

/// `update` is when the parameters have their new values. `save` has a number for each write
/// boundary, counted from 1 within one checkpoint.
enum class FaultPlace { forward, statistics, gradient, update, save, evaluation, shutdown };

/// What the caller must do itself; all other kinds of faults happen inside Faults::at().
enum class FaultEffect {
  none,
  nan,          // one value becomes a nan
  skip,         // the collective is not started on this rank
  flip,         // a bit is flipped: of the file, or of this rank's parameters
  torn,         // half of the file is written, and no error is seen
  short_write,  // the first write takes half of its bytes
  no_space,     // ENOSPC
  io_error,     // EIO
};

class Faults {
 public:
  virtual ~Faults() = default;
  /// This rank is at `place` of update `step` (the first is 1). A fault that is due there happens,
  /// once in a process; it may not return, or throw. Thread-safe.
  virtual FaultEffect at(FaultPlace place, std::int64_t step, int boundary = 1) = 0;
};

/// The faults of `rank`, as given with --fault; null when there are none. Throws InputError for a
/// fault that is not one, and in a build without them.
std::unique_ptr<Faults> make_faults(const std::vector<std::string>& texts, int rank);

}  // namespace syncnorm
