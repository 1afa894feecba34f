// See curves.h.
#include "monitoring/report/curves.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace syncnorm::report {

Curve curve_of_steps(const RunData& run, double StepRow::*number) {
  Curve curve;
  // Points depend on the run's planned length, so that all seeds have the same ones, however far
  // each has come.
  constexpr double kLongest = 1e15;  // a larger number in a log is ignored
  const double told = number_of(run.start, "total_steps");
  const double length =
      std::max(static_cast<double>(run.steps.size()), told <= kLongest ? told : 0.0);
  const auto size = static_cast<std::size_t>(std::ceil(length / kMostPoints));
  for (std::size_t begin = 0; begin < run.steps.size(); begin += size) {
    const std::size_t end = std::min(begin + size, run.steps.size());
    std::vector<double> values;
    for (std::size_t i = begin; i < end; ++i)
      if (std::isfinite(run.steps[i].*number)) values.push_back(run.steps[i].*number);
    const Spread s = spread_of(values);
    curve.push_back({run.steps[end - 1].step, run.steps[end - 1].elapsed, s.mean, s.low, s.high});
  }
  return curve;
}

Curve curve_of_evals(const RunData& run, const std::string& split, double EvalRow::*number) {
  Curve curve;
  for (const EvalRow& row : run.evals)
    if (row.split == split)
      curve.push_back({row.step, row.elapsed, row.*number, row.*number, row.*number});
  return curve;
}

Curve merge(const std::vector<Curve>& curves) {
  if (curves.size() == 1) return curves[0];
  struct Place {
    std::vector<double> elapsed, values;
  };
  std::map<double, Place> places;
  for (const Curve& curve : curves) {
    for (const Point& point : curve) {
      if (!std::isfinite(point.value)) continue;
      places[point.step].elapsed.push_back(point.elapsed);
      places[point.step].values.push_back(point.value);
    }
  }
  Curve merged;
  for (const auto& [step, place] : places) {
    const Spread s = spread_of(place.values);
    merged.push_back({step, spread_of(place.elapsed).mean, s.mean, s.low, s.high});
  }
  return merged;
}

Line to_line(const Curve& curve, Over over, const std::string& name, int color) {
  Line line;
  line.name = name;
  line.color = color;
  bool has_band = false;
  for (const Point& point : curve) {
    line.x.push_back(over == Over::steps ? point.step : point.elapsed);
    line.y.push_back(point.value);
    line.low.push_back(point.low);
    line.high.push_back(point.high);
    has_band = has_band || point.low != point.high;
  }
  if (!has_band) {
    line.low.clear();
    line.high.clear();
  }
  return line;
}

}  // namespace syncnorm::report
