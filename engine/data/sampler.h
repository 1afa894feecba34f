// The global sampler: determines the sample at each position of each global batch.
//
// An epoch is one permutation of the training samples, which depends only on the seed and the
// epoch's number. Global batch g consists of its positions [g·G, (g+1)·G), and replica r takes the
// r-th contiguous slice of those. Nothing here depends on ranks.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/replicas.h"

namespace syncnorm {

/// Sample indices of the training split; each list is ascending (in file order).
struct Splits {
  std::vector<std::uint32_t> train;
  std::vector<std::uint32_t> validation;
};

/// Splits off `validation` of `samples` training samples, chosen by `seed`. Requires 0 ≤ validation
/// ≤ samples.
Splits split_samples(std::size_t samples, int validation, std::uint64_t seed);

/// Returns `samples` in the order of `epoch`: permuted by (seed, epoch), or unchanged without
/// shuffle.
std::vector<std::uint32_t> epoch_order(const std::vector<std::uint32_t>& samples,
                                       std::uint64_t seed, std::int64_t epoch, bool shuffle);

/// Writes the order into `order`, whose memory is reused.
void epoch_order(const std::vector<std::uint32_t>& samples, std::uint64_t seed, std::int64_t epoch,
                 bool shuffle, std::vector<std::uint32_t>& order);

/// The assignment of an epoch's positions to steps and replicas.
struct Batching {
  int replicas = 1;
  int batch_per_replica = 1;
  bool drop_last = true;     // false: the remaining samples form a last, smaller global batch
  std::int64_t samples = 0;  // per epoch; positions are ints, so below 2^31

  std::int64_t global_batch() const { return std::int64_t{replicas} * batch_per_replica; }

  std::int64_t steps_per_epoch() const {
    return drop_last ? samples / global_batch() : (samples + global_batch() - 1) / global_batch();
  }

  /// Returns the samples in global batch `step_in_epoch`; the last one may be smaller.
  std::int64_t batch_samples(std::int64_t step_in_epoch) const {
    assert(step_in_epoch >= 0 && step_in_epoch < steps_per_epoch());
    return std::min(global_batch(), samples - step_in_epoch * global_batch());
  }

  /// Returns the positions in the epoch's order that `replica` takes. A smaller last batch fills
  /// replicas in order: full ones, one partial, then empty ones.
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
