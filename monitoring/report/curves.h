// Rows of one run to the points of a curve, and curves of several seeds to one with a band.
#pragma once

#include <functional>
#include <vector>

#include "monitoring/report/figure.h"
#include "monitoring/report/study_data.h"

namespace syncnorm::report {

struct Point {
  double step = 0.0;
  double elapsed = 0.0;
  double value = 0.0, low = 0.0, high = 0.0;
};
using Curve = std::vector<Point>;

/// At most kMostPoints means of as many steps each, with their least and largest value.
inline constexpr std::size_t kMostPoints = 240;
Curve curve_of_steps(const RunData& run, double StepRow::*number);

Curve curve_of_evals(const RunData& run, const std::string& split, double EvalRow::*number);

/// Where several curves have a step, their mean and their range; a single curve as it is.
Curve merge(const std::vector<Curve>& curves);

/// Over steps, or over seconds of training.
enum class Over { steps, seconds };
Line to_line(const Curve& curve, Over over, const std::string& name, int color);

}  // namespace syncnorm::report
