// Computes the points of a curve from one run's rows, and one curve with a band from those of
// several seeds.
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

/// Returns at most kMostPoints means, each of the same number of steps, with their minimum and
/// maximum.
inline constexpr std::size_t kMostPoints = 240;
Curve curve_of_steps(const RunData& run, double StepRow::*number);

Curve curve_of_evals(const RunData& run, const std::string& split, double EvalRow::*number);

/// Returns the mean and range of the curves at every step that any of them has; a single curve
/// unchanged.
Curve merge(const std::vector<Curve>& curves);

/// The horizontal axis: steps, or seconds of training.
enum class Over { steps, seconds };
Line to_line(const Curve& curve, Over over, const std::string& name, int color);

}  // namespace syncnorm::report
