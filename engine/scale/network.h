// The network between ranks as four numbers a link, and what messages cost on it.
//
// A message of b bytes holds its sender's processor for overhead + b/copying, then takes latency +
// b/bandwidth, then holds the receiver's processor as long (LogGP: Alexandrov et al. 1995, with the
// gap between bytes as 1/bandwidth, and the copies that kernel TCP leaves to the processor).
// Messages of one rank share its link.
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
  Link between;            // ranks of different nodes
  Link inside;             // ranks of one node
  int ranks_per_node = 1;  // consecutive
  double overhead = 0.0;   // seconds of processor time per message and side
  double copying = 0.0;    // bytes per second that a processor copies; 0: it need not
  std::string description() const;

  /// Processor seconds of each side for `count` messages of `bytes` in all.
  double held(int count, double bytes) const {
    return count * overhead + (copying > 0.0 ? bytes / copying : 0.0);
  }
  /// Between ranks `a` and `b` of the job.
  const Link& link(int a, int b) const {
    return a / ranks_per_node == b / ranks_per_node ? inside : between;
  }
};

/// What is known by name: typical figures of such networks, not measurements.
const std::vector<Network>& network_profiles();

/// "infiniband200", or with changes, "ethernet25,latency_us=1000,gbit=1": latency_us and gbit are
/// of the link between nodes, inside_latency_us and inside_gbit of that inside one, overhead_us,
/// copy_gbit (0: none), ranks_per_node. Throws InputError that says what would be right.
Network parse_network(const std::string& text);

}  // namespace syncnorm
