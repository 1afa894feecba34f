// Rules between keys, and values that follow from others.
#pragma once

#include "engine/config/draft.h"

namespace syncnorm::config {

/// Checks the whole draft, and resolves replicas (from global_batch), run_dir and the milestones
/// that no schedule reads. norm.synced_replicas stays 0 for all until resolve_synced_replicas(), so
/// that it is printed as written.
void resolve(Draft& draft, Problems& problems);

/// Checks the draft's `norm`, and resolves its defaults that depend on the kind.
void resolve_norm(Draft& draft, Problems& problems);

/// Replaces 0 by the number of replicas for batch normalization, and any value by 1 for kinds
/// without shared statistics.
void resolve_synced_replicas(Experiment& experiment);

}  // namespace syncnorm::config
