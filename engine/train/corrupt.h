// Corrupt images. The policy is to skip them (each is reported once, and they are counted over all
// ranks at the end) or to stop the run on all ranks after the same step. An image that cannot be
// read is not corrupt: it stops the run under either policy.
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

  /// Collects images that this rank met; reports those that are skipped.
  void note(const std::vector<CorruptImage>& images);
  /// Returns the images that any rank met, each once. Collective.
  std::vector<CorruptImage> on_all_ranks(Communicator& comm) const;

 private:
  CorruptPolicy policy_;
  std::map<std::string, std::string> found_;  // path to reason
};

/// Returns why the run stops, from the first rank whose batch is unusable. Collective.
std::string unusable_on_any_rank(Communicator& comm, const Batch& batch);

}  // namespace syncnorm
