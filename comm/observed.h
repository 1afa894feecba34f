// A communicator that tells of every collective, and can hold back their completion.
//
// It stands in front of another one: tests count with it what a step sends, benches put the delay
// of a network between ranks that share a machine.
#pragma once

#include <functional>
#include <memory>

#include "comm/communicator.h"

namespace syncnorm {

enum class Collective { all_gather, all_to_all, all_reduce, exchange };

/// One collective as it is started on this rank.
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

/// Forwards everything to `inner`, which must outlive it; its subgroups are observed in the same
/// way. Control-plane texts are forwarded silently.
std::unique_ptr<Communicator> make_observed_communicator(Communicator& inner,
                                                         ObservedOptions options);

}  // namespace syncnorm
