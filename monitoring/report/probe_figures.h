// The figures of what probes have measured: small multiples by layer, and the loss's landscape.
#pragma once

#include <vector>

#include "monitoring/report/figure.h"
#include "monitoring/report/study_data.h"

namespace syncnorm::report {

/// Figures of at most kMostLayers layers, spread evenly over the network. Empty without probes.
inline constexpr std::size_t kMostLayers = 8;
std::vector<Figure> make_probe_figures(const StudyData& study);

}  // namespace syncnorm::report
