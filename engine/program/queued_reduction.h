// One sum over the leaves of a tree, every step, on a device: folds, copies and collectives are
// queued on its communication queue, ordered with the compute queue by events, and the host waits
// for nothing. The same order of additions, so the same bits, as comm/reduction.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/reduction_plan.h"
#include "kernels/device.h"

namespace syncnorm {

/// Where the device says how far its communication queue is: in the host's memory, so that it can
/// be read while the device hangs.
struct ReductionMarks {
  std::int32_t started = 0, finished = 0;  // number of the reduction, from 1, of the last one
};

class QueuedReduction {
 public:
  virtual ~QueuedReduction() = default;
  /// Queues the sum over all ranks' inputs, which are what the compute queue has made of them so
  /// far; `inputs` and `result` must not be touched before wait(). `result` may be `inputs`.
  virtual void start(const void* inputs, void* result) = 0;
  /// What is queued on the compute queue from now on runs after the reduction.
  virtual void wait() = 0;
  /// What this rank sends, bytes.
  virtual std::size_t bytes_sent() const = 0;
  /// Throws PeerLostError when the communicator has failed.
  virtual void check() = 0;
  /// See Communicator::give_up().
  virtual void give_up() = 0;
};

/// What one reduction is made of.
struct QueuedReductionOptions {
  std::vector<Interval> blocks;  // leaves of each rank of the communicator
  std::size_t count = 0;         // values per leaf
  ReductionAlgorithm algorithm = ReductionAlgorithm::tree;
  Combine combine = Combine::sum;
  std::size_t stride = 0;  // between this rank's inputs, values
  bool folded = false;     // the inputs are the plan's nodes, not its leaves
  bool forced = false;     // send even where there is only one rank: to measure what it costs
  int number = 0;          // for the marks, from 1
};

/// `comm`'s collectives must be queued on `device`'s communication queue (make_nccl_communicator);
/// of a single rank nothing is asked, unless `forced`. `marks` may be null. All must outlive the
/// reduction. T: float or double.
template <class T>
std::unique_ptr<QueuedReduction> make_queued_reduction(Device& device, Communicator& comm,
                                                       const QueuedReductionOptions& options,
                                                       ReductionMarks* marks);

}  // namespace syncnorm
