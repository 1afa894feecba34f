// The figures of a report: which of the runs' numbers are drawn, and the notes under them.
#pragma once

#include <vector>

#include "monitoring/report/figure.h"
#include "monitoring/report/study_data.h"

namespace syncnorm::report {

/// Makes the figures: accuracy and loss over steps and over time, error over the batch per replica,
/// the parts of a step's time, and, for a single run, its learning rate and gradient norm. Omits
/// figures without data.
std::vector<Figure> make_figures(const StudyData& study);

}  // namespace syncnorm::report
