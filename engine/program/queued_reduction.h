// One sum over the leaves of a tree, every step, on a device. Folds, copies and collectives are
// queued on its communication queue and ordered with the compute queue by events; the host never
// waits. The order of additions, and so every bit, is the same as in comm/reduction.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/reduction_plan.h"
#include "engine/program/reductions.h"
#include "kernels/device.h"

namespace syncnorm {

/// The parameters of one reduction.
struct QueuedReductionOptions {
  std::vector<Interval> blocks;  // leaves of each rank of the communicator
  std::size_t count = 0;         // values per leaf
  ReductionAlgorithm algorithm = ReductionAlgorithm::tree;
  Combine combine = Combine::sum;
  std::size_t stride = 0;  // from one of this rank's inputs to the next, values
  bool folded = false;     // the inputs are the plan's subtrees, not its leaves
  bool forced = false;     // send even with only one rank, to measure the cost
  int number = 0;          // the reduction's number in the marks, from 1
};

/// Makes a reduction of T, float or double. `comm` must queue its collectives on the communication
/// queue of `device` (make_nccl_communicator); with a single rank it is used only if `forced`.
/// `marks` may be null. All must outlive the reduction.
template <class T>
std::unique_ptr<StepReduction> make_queued_reduction(Device& device, Communicator& comm,
                                                     const QueuedReductionOptions& options,
                                                     ReductionMarks* marks);

}  // namespace syncnorm
