// One sum over the leaves of a tree, every step, on a device: folds, copies and collectives are
// queued on its communication queue, ordered with the compute queue by events, and the host waits
// for nothing. The same order of additions, so the same bits, as comm/reduction.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/reduction_plan.h"
#include "engine/program/reductions.h"
#include "kernels/device.h"

namespace syncnorm {

/// What one reduction is made of.
struct QueuedReductionOptions {
  std::vector<Interval> blocks;  // leaves of each rank of the communicator
  std::size_t count = 0;         // values per leaf
  ReductionAlgorithm algorithm = ReductionAlgorithm::tree;
  Combine combine = Combine::sum;
  std::size_t stride = 0;  // between this rank's inputs, values
  bool folded = false;     // the inputs are the plan's subtrees, not its leaves
  bool forced = false;     // send even where there is only one rank: to measure what it costs
  int number = 0;          // for the marks, from 1
};

/// `comm`'s collectives must be queued on `device`'s communication queue (make_nccl_communicator);
/// of a single rank nothing is asked, unless `forced`. `marks` may be null. All must outlive the
/// reduction. T: float or double.
template <class T>
std::unique_ptr<StepReduction> make_queued_reduction(Device& device, Communicator& comm,
                                                     const QueuedReductionOptions& options,
                                                     ReductionMarks* marks);

}  // namespace syncnorm
