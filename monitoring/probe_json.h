// A probe's event as the line of metrics.jsonl.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/train/observer.h"

namespace syncnorm {

/// `event`, `step`, `seconds`, and what was measured: `activations`, `gradients` and
/// `covariate_shift` by layer, `landscape`. Numbers that are not finite are "nan", "inf", "-inf".
nlohmann::ordered_json probe_json(const ProbeEvent& event);

}  // namespace syncnorm
