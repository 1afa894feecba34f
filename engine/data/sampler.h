// The one global sampler: which sample is at which place of which global batch.
//
// An epoch is one permutation of the training samples, drawn from the seed and the epoch's number
// alone. Global batch g is positions [g·G, (g+1)·G) of it, and replica r takes the r-th contiguous
// slice of that. Ranks do not appear here.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/replicas.h"

namespace syncnorm {

/// Sample indices of the training split, each list ascending (so in file order).
struct Splits {
  std::vector<std::uint32_t> train;
  std::vector<std::uint32_t> validation;
};

/// Holds `validation` of `samples` training samples out, chosen by `seed`.
/// Requires 0 ≤ validation ≤ samples.
Splits split_samples(std::size_t samples, int validation, std::uint64_t seed);

/// `samples` in the order of `epoch`: a permutation by (seed, epoch), or unchanged without shuffle.
std::vector<std::uint32_t> epoch_order(const std::vector<std::uint32_t>& samples,
                                       std::uint64_t seed, std::int64_t epoch, bool shuffle);

/// The same into `order`, whose memory is reused.
void epoch_order(const std::vector<std::uint32_t>& samples, std::uint64_t seed, std::int64_t epoch,
                 bool shuffle, std::vector<std::uint32_t>& order);

/// How an epoch's positions are dealt to steps and replicas.
struct Batching {
  int replicas = 1;
  int batch_per_replica = 1;
  bool drop_last = true;     // false: the samples left over make a last, smaller global batch
  std::int64_t samples = 0;  // per epoch; positions are ints, so below 2^31

  std::int64_t global_batch() const { return std::int64_t{replicas} * batch_per_replica; }

  std::int64_t steps_per_epoch() const {
    return drop_last ? samples / global_batch() : (samples + global_batch() - 1) / global_batch();
  }

  /// Samples in global batch `step_in_epoch`: the global batch, or fewer in the last one.
  std::int64_t batch_samples(std::int64_t step_in_epoch) const {
    assert(step_in_epoch >= 0 && step_in_epoch < steps_per_epoch());
    return std::min(global_batch(), samples - step_in_epoch * global_batch());
  }

  /// Positions in the epoch's order that `replica` takes. The last, smaller batch fills replicas in
  /// order: full ones, one partial, then empty ones.
  Interval positions(std::int64_t step_in_epoch, int replica) const {
    assert(replica >= 0 && replica < replicas);
    const std::int64_t first = step_in_epoch * global_batch();
    const std::int64_t end = first + batch_samples(step_in_epoch);
    const std::int64_t begin = first + std::int64_t{replica} * batch_per_replica;
    return {static_cast<int>(std::min(begin, end)),
            static_cast<int>(std::min(begin + batch_per_replica, end))};
  }
};

}  // namespace syncnorm
