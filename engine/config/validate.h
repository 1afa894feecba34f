// Rules between keys, and the values that follow from others.
#pragma once

#include "engine/config/draft.h"

namespace syncnorm::config {

/// Checks the draft as a whole and resolves replicas (from global_batch), run_dir and the
/// milestones that no schedule reads. norm.synced_replicas stays 0 for all until
/// `resolve_synced_replicas`, so that it can be printed as it was meant.
void resolve(Draft& draft, Problems& problems);

/// 0 to the number of replicas for batch normalization; 1 for kinds without shared statistics.
void resolve_synced_replicas(Experiment& experiment);

}  // namespace syncnorm::config
