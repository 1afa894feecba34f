// A model of the network between ranks, and the cost of messages on it.
//
// A message of b bytes occupies its sender's processor for overhead + b/copying, then takes latency
// + b/bandwidth, then occupies the receiver's processor for as long as the sender's (LogGP:
// Alexandrov et al. 1995, with 1/bandwidth as the gap between bytes, and the copies that kernel TCP
// makes on the processor). Messages of one rank share its link.
#pragma once

#include <string>
#include <vector>

namespace syncnorm {

struct Link {
  double latency = 0.0;    // seconds
  double bandwidth = 0.0;  // bytes per second and rank, in each direction
};

struct Network {
  std::string name;
  Link between;            // between ranks of different nodes
  Link inside;             // between ranks of one node
  int ranks_per_node = 1;  // consecutive ranks
  double overhead = 0.0;   // seconds of processor time per message and side
  double copying = 0.0;    // bytes per second that a processor copies; 0: no copies
  std::string description() const;

  /// Returns the processor seconds on each side for `count` messages of `bytes` in total.
  double held(int count, double bytes) const {
    return count * overhead + (copying > 0.0 ? bytes / copying : 0.0);
  }
  /// Returns the link between ranks `a` and `b` of the job.
  const Link& link(int a, int b) const {
    return a / ranks_per_node == b / ranks_per_node ? inside : between;
  }
};

/// Returns the predefined networks: typical figures, not measurements.
const std::vector<Network>& network_profiles();

/// Parses a name, optionally with changes: "infiniband200", "ethernet25,latency_us=1000,gbit=1".
/// latency_us and gbit apply to the link between nodes, inside_latency_us and inside_gbit to the
/// one inside a node; the other keys are overhead_us, copy_gbit (0: none) and ranks_per_node.
/// Throws InputError that lists valid values.
Network parse_network(const std::string& text);

}  // namespace syncnorm
