// See node.h.
#include "comm/node.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {

std::string boot_identity() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return boot;
}

namespace {

/// Returns a text that is equal for processes with the same shared memory. Containers on one host
/// have the host's boot id, but separate file systems.
std::string node_identity() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  struct stat shm = {};
  stat("/dev/shm", &shm);
  return fmt::format("{} {} {}:{}", host, boot_identity(), shm.st_dev, shm.st_ino);
}

}  // namespace

std::vector<int> ranks_of_this_node(Communicator& comm) {
  const std::vector<std::string> nodes = comm.all_gather_text(node_identity());
  std::vector<int> ranks;
  for (int r = 0; r < comm.size(); ++r)
    if (nodes[static_cast<std::size_t>(r)] == nodes[static_cast<std::size_t>(comm.rank())])
      ranks.push_back(r);
  return ranks;
}

int local_rank(Communicator& comm) {
  const std::vector<int> ranks = ranks_of_this_node(comm);
  return static_cast<int>(std::find(ranks.begin(), ranks.end(), comm.rank()) - ranks.begin());
}

void check_units(const std::vector<std::string>& units, bool allowed) {
  if (allowed) return;
  std::map<std::string, std::size_t> rank_of;
  for (std::size_t r = 0; r < units.size(); ++r) {
    if (units[r].empty()) continue;
    const auto [other, fresh] = rank_of.emplace(units[r], r);
    if (fresh) continue;
    const auto sharing = std::count(units.begin(), units.end(), units[r]);
    throw InputError(fmt::format(
        "device: cuda: ranks {} and {} would share the GPU {} ({} ranks in all); start one rank "
        "per GPU: a rank can host any number of replicas (allow_shared_gpu: true is for tests)",
        other->second, r, units[r], sharing));
  }
}

}  // namespace syncnorm
