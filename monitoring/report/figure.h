// A figure as data; page.js draws all figures alike.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace syncnorm::report {

struct Axis {
  std::string label;             // with the unit
  std::string format = "plain";  // plain | percent: for values that are fractions in [0, 1]
  // linear | log | auto: log where positive values span 50-fold | zero: linear and including 0
  std::string scale = "linear";
};

/// A line with an optional band. Values that are not finite are gaps.
struct Line {
  std::string name;
  int color = 0;  // equal for the same setting in all figures
  std::vector<double> x, y;
  std::vector<double> low, high;  // empty: no band
};

struct Bar {
  std::string name;
  std::vector<double> parts;
};

/// Lines over an axis, or horizontal bars of stacked parts.
struct Figure {
  std::string section;
  std::string title;
  std::string note;  // explains a line and its band
  Axis x, y;
  std::vector<Line> lines;
  std::vector<std::string> part_names;
  std::vector<Bar> bars;
  bool is_small = false;  // drawn small, beside others
};

nlohmann::ordered_json to_json(const Figure& figure);

}  // namespace syncnorm::report
