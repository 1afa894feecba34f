// The figures of probe measurements: small multiples by layer, and the loss landscape.
#pragma once

#include <vector>

#include "monitoring/report/figure.h"
#include "monitoring/report/study_data.h"

namespace syncnorm::report {

/// Makes figures of at most kMostLayers layers, evenly spread over the network; none without
/// probes.
inline constexpr std::size_t kMostLayers = 8;
std::vector<Figure> make_probe_figures(const StudyData& study);

}  // namespace syncnorm::report
