// Formats a probe's event as a line of metrics.jsonl.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/train/observer.h"

namespace syncnorm {

/// Writes `event`, `step`, `seconds`, and whatever was measured: `activations`, `gradients`,
/// `covariate_shift`, `signal_to_noise` and `replica_spread` by layer, and `landscape`. Numbers
/// that are not finite become "nan", "inf", "-inf".
nlohmann::ordered_json probe_json(const ProbeEvent& event);

}  // namespace syncnorm
