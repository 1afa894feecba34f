// The figures of a report: which numbers of the runs are drawn, and what is said under them.
#pragma once

#include <vector>

#include "monitoring/report/figure.h"
#include "monitoring/report/study_data.h"

namespace syncnorm::report {

/// Accuracy and loss over steps and over time, error over the batch per replica, the split of a
/// step's time, and of a single run its learning rate and gradient norm. Figures without data are
/// left out.
std::vector<Figure> make_figures(const StudyData& study);

}  // namespace syncnorm::report
