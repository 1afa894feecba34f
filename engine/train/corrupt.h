// Images that cannot be used: each is named once, they are counted over all ranks at the end, or
// they stop the run, on all ranks behind the same step. One that cannot be read is not corrupt: it
// stops the run whatever the policy.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "engine/config/experiment.h"
#include "engine/data/loader.h"

namespace syncnorm {

class CorruptImages {
 public:
  explicit CorruptImages(CorruptPolicy policy) : policy_(policy) {}

  /// Images that this rank met; names those that are skipped.
  void note(const std::vector<CorruptImage>& images);
  /// The images that any rank met, each once. Collective.
  std::vector<CorruptImage> on_all_ranks(Communicator& comm) const;

 private:
  CorruptPolicy policy_;
  std::map<std::string, std::string> found_;  // path to reason
};

/// Why the run stops, from the ranks whose batch cannot be used. Collective.
std::string unusable_on_any_rank(Communicator& comm, const Batch& batch);

}  // namespace syncnorm
