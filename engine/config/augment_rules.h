// Which augmentations fit which data, and in which order.
#pragma once

#include <optional>
#include <string>

#include "engine/config/experiment.h"

namespace syncnorm {

/// Returns what is wrong with data.augment for this data set, and what would be right; "" if
/// nothing is. `per_pixel` tells whether pixels have labels; nothing: unknown, as for a pack that
/// is not open yet, when only what is wrong in both cases is told.
std::string augment_problem(const DataConfig& data, std::optional<bool> per_pixel);

}  // namespace syncnorm
