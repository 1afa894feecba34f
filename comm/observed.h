// A communicator that reports every collective and can delay its completion.
//
// It wraps another communicator: tests count what a step sends, and benches simulate the delay of a
// network between ranks on one machine.
#pragma once

#include <functional>
#include <memory>

#include "comm/communicator.h"

namespace syncnorm {

enum class Collective { all_gather, all_to_all, all_reduce, exchange };

/// A collective as it starts on this rank.
struct CollectiveCall {
  Collective kind = Collective::all_gather;
  DataType type = DataType::f32;
  std::size_t sent = 0;  // values that this rank contributes
  int ranks = 1;         // in the communicator
};

struct ObservedOptions {
  std::function<void(const CollectiveCall&)> on_start;  // may be empty
  double delay = 0.0;  // seconds between a start and the earliest completion
};

/// Forwards to `inner`, which must outlive it. Subgroups are observed in the same way. Texts of the
/// control plane are not reported.
std::unique_ptr<Communicator> make_observed_communicator(Communicator& inner,
                                                         ObservedOptions options);

}  // namespace syncnorm
